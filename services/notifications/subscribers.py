"""Subscriptions of the notifications service: users become recipients; events of accounts and orders are notified."""

from collections.abc import Sequence

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import recipient_erasure
from services.notifications.commands import Notice, delete_recipients, notify_all
from shared.data_exports import enqueue_export
from shared.events.orders import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderRefunded,
    OrderRejected,
    OrderShipped,
)
from shared.events.users import (
    AccountMailEvent,
    EmailChanged,
    EmailChangeRequested,
    EmailVerificationRequested,
    ExportReady,
    ExportRequested,
    OneTimeTokenEvent,
    PasswordChanged,
    PasswordResetRequested,
    SecondFactorChanged,
    SignedInFromNewDevice,
    SignUpAttempted,
    UserCreated,
    UserErasureRequested,
    UserPurged,
    UserUpdated,
)
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from shared.sealed_contacts import delete_contacts, store_contacts

MAX_LINES_SHOWN = 20
"""Lines of an order that a notification stores and shows; the others are only counted."""

# Most events of this topic are about credit, which is ignored here, and no order waits for the others: fetch them
# together.
users = Subscription("users", batches_at_once=3, fetch_min_bytes=16 * 1024)
orders = Subscription("orders", batches_at_once=3)
SUBSCRIPTIONS = (users, orders)

AccountEvent = PasswordChanged | SecondFactorChanged | SignedInFromNewDevice | ExportReady
"""An event of which a user is told in all channels."""


@users.on_batch(UserCreated, UserUpdated)
async def store_and_welcome(
    session: AsyncSession, events: Sequence[tuple[UserCreated | UserUpdated, EventContext]]
) -> None:
    # A job opens them: a handler calls no other service.
    await store_contacts(session, events)
    created = [(event, context) for event, context in events if isinstance(event, UserCreated)]
    if created:
        await notify_all(
            session, [Notice(event.user_id, "account", {}, context, locale=event.locale) for event, context in created]
        )


@users.on_batch(EmailVerificationRequested, EmailChangeRequested, PasswordResetRequested, SignUpAttempted, EmailChanged)
async def send_account_mails(session: AsyncSession, events: Sequence[tuple[AccountMailEvent, EventContext]]) -> None:
    await notify_all(session, [_account_mail(event, context) for event, context in events])


@users.on_batch(PasswordChanged, SecondFactorChanged, SignedInFromNewDevice, ExportReady)
async def notify_of_accounts(session: AsyncSession, events: Sequence[tuple[AccountEvent, EventContext]]) -> None:
    await notify_all(
        session,
        [
            Notice(event.user_id, "account", event.model_dump(mode="json", exclude={"user_id"}), context)
            for event, context in events
        ],
    )


@users.on(ExportRequested)
async def export_recipient(session: AsyncSession, event: ExportRequested, _context: EventContext) -> None:
    await enqueue_export(session, event)


@users.on_batch(UserPurged)
async def delete_purged_recipients(session: AsyncSession, events: Sequence[tuple[UserPurged, EventContext]]) -> None:
    user_ids = [event.user_id for event, _ in events]
    await delete_contacts(session, user_ids)
    await delete_recipients(session, user_ids)


@users.on(UserErasureRequested)
async def erase_recipient(session: AsyncSession, event: UserErasureRequested, context: EventContext) -> None:
    # A job does it, after the last mails.
    await recipient_erasure.request_erasure(session, user_id=event.user_id, request_id=event.request_id, cause=context)


@orders.on_batch(OrderConfirmed, OrderRejected, OrderCancelled, OrderShipped, OrderDelivered, OrderRefunded)
async def notify_of_orders(session: AsyncSession, events: Sequence[tuple[OrderEvent, EventContext]]) -> None:
    await notify_all(session, [Notice(event.user_id, "orders", _data_of(event), context) for event, context in events])


def _account_mail(event: AccountMailEvent, context: EventContext) -> Notice:
    """Return the notice that is only mailed. What is sealed stays sealed, and nothing else is told."""
    return Notice(
        event.user_id,
        "account",
        {},
        context,
        locale=event.locale,
        sealed=event.personal,
        expires_at=event.expires_at if isinstance(event, OneTimeTokenEvent) else None,
    )


def _data_of(event: OrderEvent) -> dict[str, JsonValue]:
    """Return the event's data without the user's id, which the notification has itself. Long orders are cut."""
    data: dict[str, JsonValue] = event.model_dump(mode="json", exclude={"user_id", "lines"})
    if isinstance(event, OrderConfirmed):
        data["lines"] = [line.model_dump(mode="json") for line in event.lines[:MAX_LINES_SHOWN]]
        data["more_lines"] = max(0, len(event.lines) - MAX_LINES_SHOWN)
    return data
