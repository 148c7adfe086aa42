"""The declarative base of the users service's tables, and the types of their columns."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, mapped_column

from shared.ids import new_id
from shared.metadata import TYPE_ANNOTATIONS, service_metadata


def _now() -> datetime:
    return datetime.now(UTC)


Cents = Annotated[int, mapped_column(sa.BigInteger)]
Id = Annotated[UUID, mapped_column(primary_key=True, default=new_id)]
NowByDefault = Annotated[datetime, mapped_column(default=_now)]


class Base(DeclarativeBase):
    """The declarative base of this service's tables."""

    metadata = service_metadata()
    type_annotation_map = TYPE_ANNOTATIONS
