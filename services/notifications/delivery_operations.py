"""Operators' work on deliveries: find those that were not sent, read one, and resend."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.deliveries import WORKER
from services.notifications.models import Delivery, DeliveryAction, Notification, Recipient
from services.notifications.statuses import Channel, DeliveryStatus
from shared.database import Sessions
from shared.errors import Conflict, NotFound, Problem
from shared.loops import wake_after_commit

logger = structlog.get_logger(__name__)

RESEND_PAGE = 500
"""Deliveries that a resend changes per transaction. More would keep their rows locked for longer."""
RESENDABLE_STATUSES: tuple[DeliveryStatus, ...] = ("failed", "retrying")
"""Statuses of a delivery that can be resent: it has failed, or waits for a retry that could be made now."""

_HAS_CONTENT = sa.or_(Notification.in_app, Notification.sealed.is_not(None))
"""Whether the notification has what its mail needs: address and token of a sealed one are deleted when it ends."""
_SUMMARY = (
    Delivery.id,
    Delivery.notification_id,
    Notification.user_id,
    Notification.event_type,
    Delivery.channel,
    Delivery.status,
    Delivery.attempts,
    Delivery.last_error,
    Delivery.first_due_at,
    Delivery.next_attempt_at,
    Delivery.sent_at,
    Notification.created_at,
)


class DeliveryNotFound(NotFound):
    """There is no such delivery."""

    code = "delivery_not_found"


class DeliveryNotResendable(Conflict):
    """The delivery cannot be resent in its present status."""

    code = "delivery_not_resendable"


class NoDeliverySelected(Problem):
    """The selection of deliveries is missing or ambiguous."""

    status = 422
    code = "no_delivery_selected"


@dataclass(frozen=True)
class DeliveryFilter:
    """A filter of deliveries; None selects any."""

    status: DeliveryStatus = "failed"
    channel: Channel | None = None
    user_id: UUID | None = None
    error: str | None = None
    created_before: datetime | None = None


@dataclass(frozen=True)
class ResendSelection:
    """The deliveries to resend: those with these ids, or those that a filter selects, at most `limit`.

    `force` also resends those with these ids that were sent: their recipients get the message twice.
    """

    ids: Sequence[UUID] = ()
    wanted: DeliveryFilter | None = None
    limit: int | None = None
    force: bool = False


@dataclass(frozen=True)
class DeliverySummary:
    """A delivery, and whose notification of which event it delivers."""

    id: UUID
    notification_id: UUID
    user_id: UUID
    event_type: str
    channel: Channel
    status: DeliveryStatus
    attempts: int
    last_error: str | None
    first_due_at: datetime | None
    next_attempt_at: datetime | None
    sent_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class DeliveryDetail(DeliverySummary):
    """A delivery with its notification's data, its recipient's present address, and the actions taken on it."""

    title: str
    data: dict[str, JsonValue]
    email: str | None
    provider: str | None
    provider_message_id: str | None
    actions: Sequence[DeliveryAction]


def deliveries_oldest_first(wanted: DeliveryFilter) -> sa.Select[*tuple[Any, ...]]:
    """Select the columns of DeliverySummary, oldest first since ids sort by age."""
    conditions = [Delivery.status == wanted.status]
    if wanted.channel is not None:
        conditions.append(Delivery.channel == wanted.channel)
    if wanted.user_id is not None:
        conditions.append(Notification.user_id == wanted.user_id)
    if wanted.error is not None:
        conditions.append(Delivery.last_error == wanted.error)
    if wanted.created_before is not None:
        conditions.append(Notification.created_at < wanted.created_before)
    return _summaries().where(*conditions).order_by(Delivery.id)


async def list_deliveries(
    session: AsyncSession, wanted: DeliveryFilter, *, after: UUID | None = None, limit: int
) -> list[DeliverySummary]:
    """Return the oldest deliveries that the filter selects, or those that follow the delivery `after`."""
    query = deliveries_oldest_first(wanted).limit(limit)
    rows = await session.execute(query if after is None else query.where(Delivery.id > after))
    return [DeliverySummary(*row) for row in rows]


async def show_delivery(session: AsyncSession, delivery_id: UUID) -> DeliveryDetail:
    """Return one delivery. Raises: DeliveryNotFound."""
    query = (
        _summaries().where(Delivery.id == delivery_id).outerjoin(Recipient, Recipient.user_id == Notification.user_id)
    )
    # The address of a sealed mail may be another one, and is shown to nobody.
    email = sa.case((Notification.in_app, Recipient.email)).label("email")
    more = (Notification.title, Notification.data, email, Delivery.provider, Delivery.provider_message_id)
    row = (await session.execute(query.add_columns(*more))).mappings().one_or_none()
    if row is None:
        raise _not_found(delivery_id)
    actions = await session.scalars(
        sa.select(DeliveryAction).where(DeliveryAction.delivery_id == delivery_id).order_by(DeliveryAction.id)
    )
    return DeliveryDetail(**row, actions=actions.all())


async def resend(
    sessions: Sessions,
    selection: ResendSelection,
    *,
    actor: str,
    note: str,
    dry_run: bool = False,
    on_resent: Callable[[int], None] | None = None,
) -> int:
    """Make the selected deliveries due now, with the whole time for their retries; return how many there are.

    Those with ids are resent in one transaction, or none is. Those of a filter are resent page by page, the oldest
    first; `on_resent` is called with their number so far. A dry run changes nothing.

    Raises: NoDeliverySelected, DeliveryNotFound, DeliveryNotResendable.
    """
    if selection.ids or dry_run:
        async with sessions.begin() as session:
            total = await resend_at_once(session, selection, actor=actor, note=note, dry_run=dry_run)
        if not dry_run:
            log_resent(total, actor=actor)
        return total
    query = _selected(selection)
    total, after = 0, UUID(int=0)
    while (size := RESEND_PAGE if selection.limit is None else min(RESEND_PAGE, selection.limit - total)) > 0:
        async with sessions.begin() as session:
            ids = await _resend_page(session, query.where(Delivery.id > after).limit(size), actor=actor, note=note)
        if not ids:
            break
        total, after = total + len(ids), ids[-1]
        log_resent(len(ids), actor=actor)
        if on_resent is not None:
            on_resent(total)
    return total


async def resend_at_once(
    session: AsyncSession, selection: ResendSelection, *, actor: str, note: str, dry_run: bool = False
) -> int:
    """Do as `resend` in one transaction, which locks all deliveries until it ends: limit a filter.

    Raises: NoDeliverySelected, DeliveryNotFound, DeliveryNotResendable.
    """
    if selection.ids and selection.wanted is None:
        ids = sorted(set(selection.ids))
        await _check_resendable(session, ids, force=selection.force)
        if not dry_run:
            await _resend(session, ids, actor=actor, note=note)
        return len(ids)
    query = _selected(selection).limit(selection.limit)
    if dry_run:
        return await session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    return len(await _resend_page(session, query, actor=actor, note=note))


def log_resent(deliveries: int, *, actor: str) -> None:
    """Log a resend after its commit."""
    logger.info("deliveries_resent", actor=actor, deliveries=deliveries)


def _selected(selection: ResendSelection) -> sa.Select[UUID]:
    if selection.ids or selection.wanted is None:
        raise NoDeliverySelected("Give either ids or a filter with a status.")
    return _resendable(selection.wanted)


async def _resend_page(session: AsyncSession, query: sa.Select[UUID], *, actor: str, note: str) -> list[UUID]:
    ids = list(await session.scalars(query.with_for_update(of=Delivery, key_share=True)))
    await _resend(session, ids, actor=actor, note=note)
    return ids


async def _check_resendable(session: AsyncSession, ids: Collection[UUID], *, force: bool) -> None:
    rows = await session.execute(
        sa.select(Delivery.id, Delivery.channel, Delivery.status, _HAS_CONTENT.label("has_content"))
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(Delivery.id.in_(ids))
        .order_by(Delivery.id)
        .with_for_update(of=Delivery, key_share=True)
    )
    found = {row.id: row for row in rows}
    allowed: Collection[str] = (*RESENDABLE_STATUSES, "sent") if force else RESENDABLE_STATUSES
    for delivery_id in ids:
        if delivery_id not in found:
            raise _not_found(delivery_id)
        _, channel, status, has_content = found[delivery_id]
        if not has_content:
            raise DeliveryNotResendable(
                f"The address and the token of the mail {delivery_id} were deleted when it ended.",
                extra={"status": status},
            )
        if channel == "in_app" or status not in allowed:
            advice = " Force it to send the message twice." if (channel, status) == ("email", "sent") else ""
            raise DeliveryNotResendable(
                f"The delivery {delivery_id} ({channel}) is {status}.{advice}", extra={"status": status}
            )


def _summaries() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(*_SUMMARY).join(Notification, Notification.id == Delivery.notification_id)


def _resendable(wanted: DeliveryFilter) -> sa.Select[UUID]:
    if wanted.status not in RESENDABLE_STATUSES:
        raise DeliveryNotResendable(
            f"A filter selects {' or '.join(RESENDABLE_STATUSES)} deliveries.", extra={"status": wanted.status}
        )
    return deliveries_oldest_first(wanted).where(_HAS_CONTENT).with_only_columns(Delivery.id)


async def _resend(session: AsyncSession, ids: Collection[UUID], *, actor: str, note: str) -> None:
    """Make locked deliveries due now, with the whole time for their retries, and record who did so."""
    actions = sa.select(
        Delivery.id, sa.literal(actor), sa.literal("resend"), sa.literal(note), Delivery.status, Delivery.last_error
    ).where(Delivery.id.in_(ids))
    columns = ["delivery_id", "actor", "action", "note", "status_before", "error_before"]
    await session.execute(sa.insert(DeliveryAction).from_select(columns, actions))
    # As retries, which are claimed apart from new mails: a large resend does not hold these up.
    await session.execute(
        sa.update(Delivery)
        .where(Delivery.id.in_(ids))
        .values(
            status="retrying",
            earlier_attempts=Delivery.attempts,
            first_due_at=sa.func.now(),
            next_attempt_at=sa.func.now(),
            sent_at=None,
        )
        .execution_options(synchronize_session=False)
    )
    wake_after_commit(session, WORKER)


def _not_found(delivery_id: UUID) -> DeliveryNotFound:
    return DeliveryNotFound(f"There is no delivery {delivery_id}.")
