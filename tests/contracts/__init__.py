"""What others build on: events, access and the HTTP API, checked against the documents that promise them."""
