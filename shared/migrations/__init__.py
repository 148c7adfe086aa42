"""Migrations: one Alembic environment for all services, each with its own versions and metadata."""
