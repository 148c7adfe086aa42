"""New identifiers: UUIDs of version 7, which sort by their time."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()
