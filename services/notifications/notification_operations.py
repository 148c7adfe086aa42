"""Operators' work on notifications: drop those that are about nothing, or that repeat another."""

from uuid import UUID

import sqlalchemy as sa
import structlog

from services.notifications.models import Delivery, Notification
from shared.database import Sessions
from shared.errors import Conflict, Problem

logger = structlog.get_logger(__name__)


class NoNotificationSelected(Problem):
    """Give either --id or --order."""

    status = 422
    code = "no_notification_selected"


class DeliveryBeingSent(Conflict):
    """A mail of this notification is being sent; repeat the command in a minute."""

    code = "delivery_being_sent"


async def drop(
    sessions: Sessions,
    *,
    notification_id: UUID | None,
    order_id: UUID | None,
    actor: str,
    note: str,
) -> list[UUID]:
    """Delete one notification, or those about an order, with their deliveries; return their ids. Repeatable.

    A mail that waits is not sent any more. `notification.sent` was published, and stays true.

    Raises: NoNotificationSelected, DeliveryBeingSent.
    """
    if (notification_id is None) == (order_id is None):
        raise NoNotificationSelected
    is_about = Notification.data["order_id"].astext == str(order_id)
    wanted = (
        Notification.id == notification_id if notification_id else sa.and_(Notification.category == "orders", is_about)
    )
    async with sessions.begin() as session:
        ids = list(await session.scalars(sa.select(Notification.id).where(wanted)))
        # The deliveries first, as the worker locks them.
        statuses = await session.scalars(
            sa.select(Delivery.status).where(Delivery.notification_id.in_(ids)).order_by(Delivery.id).with_for_update()
        )
        if "sending" in set(statuses):
            raise DeliveryBeingSent
        await session.execute(sa.delete(Notification).where(Notification.id.in_(ids)))
    logger.warning("notifications_dropped", notification_ids=[str(each) for each in ids], actor=actor, note=note)
    return ids
