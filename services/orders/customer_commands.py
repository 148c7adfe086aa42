"""Commands of customers: the replica of users that support sees."""

from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.models import Customer


async def replace_customers(session: AsyncSession, customers: Mapping[UUID, tuple[str, str]]) -> None:
    """Replace or insert customers, given as (e-mail, name) by user id. Locks the rows ordered by id. Repeatable."""
    user_ids = sorted(customers)
    columns = {
        Customer.user_id: (user_ids, sa.Uuid),
        Customer.email: ([customers[user_id][0] for user_id in user_ids], sa.Text),
        Customer.name: ([customers[user_id][1] for user_id in user_ids], sa.Text),
    }
    # Arrays instead of one parameter per value: the statement's text stays the same for any number of customers.
    arrays = sa.func.unnest(*(sa.cast(values, ARRAY(type_)) for values, type_ in columns.values()))
    rows = arrays.table_valued(*(sa.column(column.key, type_) for column, (_, type_) in columns.items()))
    statement = insert(Customer).from_select(list(columns), sa.select(rows.render_derived(name="given")))
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[Customer.user_id],
            set_={"email": statement.excluded.email, "name": statement.excluded.name},
        )
    )
