"""Jobs of the orders service: overdue orders; customers' data, opened, exported and erased; and what it republishes."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
import structlog
from prometheus_client import Counter
from sqlalchemy.orm import selectinload

from services.orders import (
    catalogue_commands,
    commands,
    customer_commands,
    customer_erasure,
    customer_export,
    overdue_orders,
)
from services.orders.customer_erasure import ERASE_JOB
from services.orders.models import Order, Product
from services.orders.order_metrics import observe_decision_at_commit
from shared.data_exports import add_export_jobs
from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.jobs import Jobs
from shared.messaging.outbox.republish import Republishable
from shared.personal_keys import PersonalKeys
from shared.sealed_contacts import add_contact_jobs
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)

CANCELLATION_FAILURES = Counter(
    "orders_cancellation_failures_total", "Overdue orders that could not be cancelled, because of their data"
)

BATCH_SIZE = 100
"""Orders cancelled per transaction. More would hold their locks for longer."""

REPUBLISHED = (
    Republishable("products", sa.select(Product), key=Product.sku, event_of=catalogue_commands.product_updated),
    Republishable(
        "orders",
        sa.select(Order).options(selectinload(Order.items)),
        key=Order.id,
        event_of=commands.order_snapshot,
        changed_at=Order.updated_at,
    ),
)


def order_jobs(*, keys: PersonalKeys) -> Jobs:
    """Return the service's jobs. `keys` open what events of users hold."""
    jobs = Jobs()
    # Seconds are the sixth and last field of PgQueuer's cron expressions.
    jobs.every("* * * * * */5")(cancel_overdue_orders)
    jobs.every("43 * * * *")(purge_settled_overdue_orders)
    add_export_jobs(jobs, keys=keys, collection=customer_export.COLLECTION, record_part=customer_export.record_part)

    @jobs.task(ERASE_JOB)
    async def erase_customer(sessions: Sessions, payload: bytes) -> None:
        user_id = UUID(payload.decode())
        await customer_erasure.erase_customer(sessions, user_id)
        keys.invalidate(user_id)

    return add_contact_jobs(jobs, keys=keys, replace=customer_commands.replace_customers)


async def cancel_overdue_orders(sessions: Sessions) -> None:
    """Cancel every order that is pending past its deadline, one transaction per batch."""
    while await _cancel_batch(sessions) == BATCH_SIZE:
        pass


async def purge_settled_overdue_orders(sessions: Sessions) -> None:
    """Delete the records of orders that could not be cancelled once they are settled."""
    async with sessions.begin() as session:
        await overdue_orders.purge_settled(session)


async def _cancel_batch(sessions: Sessions, *, only: Sequence[UUID] | None = None) -> int:
    """Cancel a batch of overdue orders, or those of these ids; return how many were found.

    If the batch fails, its halves are tried, until the orders that cannot be cancelled are alone: those are postponed.
    Raises: transient errors.
    """
    found: list[UUID] = []
    try:
        async with sessions.begin() as session:
            orders = await overdue_orders.lock_overdue_orders(session, limit=BATCH_SIZE, only=only)
            found = [order.id for order in orders]
            commands.cancel_locked(session, orders, reason="deadline")
            for order in orders:
                observe_decision_at_commit(session, order, "expired")
    except Exception as error:
        if is_transient(error) or not found:
            raise
        if len(found) == 1:
            await _postpone(sessions, found[0], error)
        else:
            middle = len(found) // 2
            await _cancel_batch(sessions, only=found[:middle])
            await _cancel_batch(sessions, only=found[middle:])
    else:
        for order_id in found:
            logger.info("order_cancelled", order_id=str(order_id), reason="deadline")
    return len(found)


async def _postpone(sessions: Sessions, order_id: UUID, error: Exception) -> None:
    description = describe_error(error)
    async with sessions.begin() as session:
        await overdue_orders.postpone(session, order_id, error=description)
    CANCELLATION_FAILURES.inc()
    logger.error("order_cancellation_failed", order_id=str(order_id), error=description)
