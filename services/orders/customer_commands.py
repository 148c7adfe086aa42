"""Commands of customers: the replica of users that support sees."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.models import Customer
from shared.sealed_contacts import OpenedContact
from shared.statements import array_rows


async def replace_customers(session: AsyncSession, customers: Mapping[UUID, OpenedContact]) -> None:
    """Replace or insert customers, given by user id, unless a later event has written them.

    Locks the rows ordered by id. Repeatable.
    """
    user_ids = sorted(customers)
    rows = array_rows(
        "given",
        user_id=(user_ids, sa.Uuid),
        email=([customers[user_id].contact.email for user_id in user_ids], sa.Text),
        name=([customers[user_id].contact.name for user_id in user_ids], sa.Text),
        sequence=([customers[user_id].sequence for user_id in user_ids], sa.BigInteger),
    )
    statement = insert(Customer).from_select(["user_id", "email", "name", "sequence"], sa.select(rows))
    new = statement.excluded
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[Customer.user_id],
            set_={"email": new.email, "name": new.name, "sequence": new.sequence},
            where=new.sequence > Customer.sequence,
        )
    )


async def delete_customers(session: AsyncSession, user_ids: Sequence[UUID]) -> None:
    """Delete customers. Their orders stay. Repeatable."""
    await session.execute(sa.delete(Customer).where(Customer.user_id.in_(user_ids)))
