"""Commands of customers: the replica of users that support sees."""

from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.models import Customer
from shared.statements import array_rows


async def replace_customers(session: AsyncSession, customers: Mapping[UUID, tuple[str, str]]) -> None:
    """Replace or insert customers, given as (e-mail, name) by user id. Locks the rows ordered by id. Repeatable."""
    user_ids = sorted(customers)
    rows = array_rows(
        "given",
        user_id=(user_ids, sa.Uuid),
        email=([customers[user_id][0] for user_id in user_ids], sa.Text),
        name=([customers[user_id][1] for user_id in user_ids], sa.Text),
    )
    statement = insert(Customer).from_select(["user_id", "email", "name"], sa.select(rows))
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[Customer.user_id],
            set_={"email": statement.excluded.email, "name": statement.excluded.name},
        )
    )
