"""Requests that Schemathesis generates from the OpenAPI documents: thousands of each service, valid and invalid."""
