"""Errors that asyncpg raises when a connection to PostgreSQL fails or is lost."""

import asyncpg

CONNECTION_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""If a connection is lost while a statement begins, asyncpg raises an InternalClientError."""
