"""Requests to the notifications service."""

from uuid import UUID

import sqlalchemy as sa

from services.notifications.models import Delivery, Notification
from tests.access.calls import Call, call_of, plain
from tests.access.system import Account, System
from tests.notifications.events import apply, order_confirmed

DELIVERIES = "/v1/operations/notifications/deliveries"

plain("GET /v1/notifications", "GET /v1/notifications/unread-count", f"GET {DELIVERIES}")


async def notification_of(system: System, owner: Account) -> UUID:
    """Notify this owner, and return the id."""
    await apply(system.sessions("notifications"), order_confirmed(owner.id, number=f"O-{system.number()}"))
    newest = sa.select(Notification.id).where(Notification.user_id == owner.id).order_by(Notification.id.desc())
    async with system.sessions("notifications")() as session:
        return (await session.scalars(newest.limit(1))).one()


@call_of("GET /v1/notifications/{notification_id}")
async def read_notification(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/notifications/{await notification_of(system, owner)}")


@call_of("POST /v1/notifications/{notification_id}/read")
async def mark_notification_read(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/notifications/{await notification_of(system, owner)}/read")


@call_of(f"GET {DELIVERIES}/{{delivery_id}}")
async def read_delivery(system: System, owner: Account, _objects: str) -> Call:
    notification_id = await notification_of(system, owner)
    async with system.sessions("notifications")() as session:
        of_mail = sa.select(Delivery.id).where(Delivery.notification_id == notification_id, Delivery.channel == "email")
        delivery_id = (await session.scalars(of_mail)).one()
    return Call(f"{DELIVERIES}/{delivery_id}")


@call_of(f"POST {DELIVERIES}/resends")
async def resend_deliveries(system: System, owner: Account, _objects: str) -> Call:
    await notification_of(system, owner)
    return Call(f"{DELIVERIES}/resends", {"note": "test", "status": "failed", "user_id": str(owner.id)})
