"""Migrations of every service: one Alembic environment, each service's own versions and metadata."""
