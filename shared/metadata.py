"""SQLAlchemy metadata of a service: naming convention, column types, and the tables that every service has."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from shared.http.idempotency import idempotency_table
from shared.messaging.storage.tables import add_messaging_tables

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

TYPE_ANNOTATIONS = {
    datetime: sa.DateTime(timezone=True),
    UUID: sa.Uuid(),
    str: sa.Text(),
}
"""`type_annotation_map` of a service's declarative base: text without a length, times with a time zone."""


def one_of(column: str, values: Iterable[str]) -> str:
    """Return the condition of a CHECK constraint: the column has one of the values."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def service_metadata() -> sa.MetaData:
    """Return metadata with the naming convention and the tables that every service has."""
    metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
    add_messaging_tables(metadata)
    idempotency_table(metadata)
    return metadata
