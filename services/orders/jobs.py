"""Jobs of the orders service: cancelling overdue orders; and what it republishes."""

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import selectinload

from services.orders import catalogue_commands, commands
from services.orders.models import Order, Product
from shared.database import Sessions
from shared.jobs import Jobs
from shared.messaging.outbox.republish import Republishable

logger = structlog.get_logger(__name__)

BATCH_SIZE = 100
"""Orders cancelled per transaction. More would hold their locks for longer."""

jobs = Jobs()

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


# Seconds are the sixth and last field of PgQueuer's cron expressions.
@jobs.every("* * * * * */5")
async def cancel_overdue_orders(sessions: Sessions) -> None:
    """Cancel every order that is pending past its deadline, one transaction per batch."""
    cancelled_count = BATCH_SIZE
    while cancelled_count == BATCH_SIZE:
        async with sessions.begin() as session:
            cancelled = await commands.cancel_overdue_orders(session, limit=BATCH_SIZE)
        for order in cancelled:
            logger.info("order_cancelled", order_id=str(order.id), reason="deadline")
        cancelled_count = len(cancelled)
