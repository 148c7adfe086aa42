"""Parts of SQL statements that several tables need."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute


async def count_deleted(session: AsyncSession, statement: sa.Delete) -> int:
    """Execute the statement, and return how many rows it deleted. Objects in the session stay as they are."""
    deleted = await session.scalars(
        statement.returning(sa.literal(1)), execution_options={"synchronize_session": False}
    )
    return len(deleted.all())


async def delete_older(
    session: AsyncSession,
    key: InstrumentedAttribute[Any],
    *conditions: sa.ColumnElement[bool],
    time: InstrumentedAttribute[Any],
    than: sa.ColumnElement[Any] | datetime,
    limit: int,
) -> int:
    """Delete at most `limit` rows with a time before another one, oldest first, and return how many.

    `key`: the table's primary key. Locked rows are skipped. Repeat it, in a transaction each, until it returns 0.
    """
    older = sa.select(key).where(*conditions, time < than).order_by(time).limit(limit).with_for_update(skip_locked=True)
    return await count_deleted(session, sa.delete(key.class_).where(key.in_(older)))


def array_rows(name: str, /, **columns: tuple[Sequence[object], type[sa.types.TypeEngine[Any]]]) -> sa.TableValuedAlias:
    """Return a table of these columns, each given as its values and their type.

    The values are one array parameter per column, so the statement's text is the same for any number of rows.
    """
    arrays = sa.func.unnest(*(sa.cast(values, ARRAY(type_)) for values, type_ in columns.values()))
    table = arrays.table_valued(*(sa.column(column, type_) for column, (_, type_) in columns.items()))
    return table.render_derived(name=name)
