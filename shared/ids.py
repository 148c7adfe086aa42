"""New identifiers."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7: ids sort by the time of their creation."""
    return uuid7()
