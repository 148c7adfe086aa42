"""The OpenAPI documents against the recommended rules of Redocly CLI."""
