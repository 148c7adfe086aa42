"""Work of the job queue: orders whose credit was never answered are cancelled, states are republished."""

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import selectinload

from services.orders import catalogue_commands, commands
from services.orders.models import Order, Product
from shared.database import Sessions
from shared.jobs import Jobs
from shared.messaging.outbox.republish import Republishable

logger = structlog.get_logger(__name__)

BATCH = 100

jobs = Jobs()

REPUBLISHED = (
    Republishable("products", sa.select(Product), key=Product.sku, event_of=catalogue_commands.product_updated),
    Republishable(
        "orders",
        sa.select(Order).options(selectinload(Order.items)),
        key=Order.id,
        event_of=commands.snapshot_of,
        changed_at=Order.updated_at,
    ),
)


# Seconds are cron's sixth field, the last: in the first place */5 would mean minutes.
@jobs.every("* * * * * */5")
async def cancel_overdue_orders(sessions: Sessions) -> None:
    """A transaction a batch, until none is left: a backlog must not hold its locks together."""
    cancelled_count = BATCH
    while cancelled_count == BATCH:
        async with sessions.begin() as session:
            cancelled = await commands.cancel_overdue_orders(session, limit=BATCH)
        for order in cancelled:
            logger.info("order_cancelled", order_id=str(order.id), reason="deadline")
        cancelled_count = len(cancelled)
