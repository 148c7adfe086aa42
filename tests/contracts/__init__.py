"""Contract tests: events, access control and the HTTP API, compared with the documents that describe them."""
