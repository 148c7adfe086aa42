"""Routes for other services: they are in no public document, and the gateway does not route them."""
