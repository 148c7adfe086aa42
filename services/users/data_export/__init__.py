"""Exports: one document of everything that the services have of a user."""
