"""An order's journey over all services: their parts put together, linked by the events, with a verdict."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa

from services.orders.journey_parts import OtherServices, Unavailable, order_of
from services.orders.journey_schemas import JourneyView, ServicePart
from services.orders.journey_verdict import verdict_of
from services.orders.models import Order
from services.orders.queries import OrderNotFound
from shared.database import Sessions
from shared.operations.events import EventNotFound, find_event
from shared.operations.journey_entries import (
    AnyEntry,
    ConsumerOutcome,
    CreditEntry,
    DeadLetterEntry,
    EventConsumer,
    EventEntry,
    OrderEntry,
    RequestEntry,
)
from shared.operations.journey_schemas import ConsumerState, JourneyPart
from shared.operations.journeys import JourneyOperations, Subject

_ORDER_OF_KINDS = {
    kind: position
    for position, kind in enumerate(
        ("request", "order", "credit", "notification", "event", "delivery", "attempt", "mail", "dead_letter", "action")
    )
}
"""The order of entries of one moment: a row before the event that tells of it."""


@dataclass(frozen=True)
class Journeys:
    """Reads the journeys of orders over all services."""

    sessions: Sessions
    own: JourneyOperations
    others: OtherServices

    async def journey(self, reference: UUID | str, *, authorization: str) -> JourneyView:
        """Return the journey of the order with this id or number, or that an event with this id is about.

        `authorization` is the header of the caller, which the other services check, too. Raises: OrderNotFound.
        """
        order = await self._order(reference, authorization=authorization)
        subject = Subject(order.id, order.user_id)
        own, others = await asyncio.gather(
            self.own.part(subject), self.others.parts(subject, authorization=authorization)
        )
        return put_together(order, {self.own.service: own, **others}, now=datetime.now(UTC))

    async def _order(self, reference: UUID | str, *, authorization: str) -> Order:
        if isinstance(reference, str):
            return await self._find(Order.number == reference)
        try:
            return await self._find(Order.id == reference)
        except OrderNotFound:
            order_id = await self._order_of_event(reference, authorization=authorization)
            if order_id is None:
                raise
            return await self._find(Order.id == order_id)

    async def _find(self, condition: sa.ColumnElement[bool]) -> Order:
        async with self.sessions() as session:
            order = await session.scalar(sa.select(Order).where(condition))
        if order is None:
            raise OrderNotFound
        return order

    async def _order_of_event(self, event_id: UUID, *, authorization: str) -> UUID | None:
        try:
            async with self.sessions() as session:
                event = await find_event(session, event_id, consumers=self.own.subscriptions)
        except EventNotFound:
            event = None
        order_id = order_of(event.topic, event.key, event.data) if event is not None else None
        return order_id or await self.others.order_of_event(event_id, authorization=authorization)


def put_together(order: Order, parts: Mapping[str, JourneyPart | Unavailable], *, now: datetime) -> JourneyView:
    """Return the journey of an order from the parts of all services."""
    available = [part for part in parts.values() if isinstance(part, JourneyPart)]
    consumers = [consumer for part in available for consumer in part.consumers]
    entries = [entry for part in available for entry in part.entries]
    entries = _linked(_with_consumers(entries, consumers))
    entries.sort(key=lambda entry: (entry.time, _ORDER_OF_KINDS.get(entry.kind, len(_ORDER_OF_KINDS))))
    request = next((entry for entry in entries if entry.kind == "request"), None)
    return JourneyView(
        order_id=order.id,
        number=order.number,
        status=order.status,
        user_id=order.user_id,
        trace_id=request.trace_id if request else None,
        placed_at=order.created_at,
        deadline=order.deadline,
        verdict=verdict_of(order, parts, entries, now=now),
        services=[_service_part(service, part) for service, part in parts.items()],
        consumers=consumers,
        entries=entries,
    )


def _service_part(service: str, part: JourneyPart | Unavailable) -> ServicePart:
    if isinstance(part, Unavailable):
        return ServicePart(service=service, state="unavailable", reason=part.reason, relay=None)
    return ServicePart(service=service, state="cut" if part.is_cut else "complete", reason=None, relay=part.relay)


def _with_consumers(entries: Iterable[AnyEntry], consumers: Sequence[ConsumerState]) -> list[AnyEntry]:
    """Return the entries, the events among them with what each of their consumers has done with them."""
    every = list(entries)
    dead_letters = [entry for entry in every if isinstance(entry, DeadLetterEntry)]
    return [
        entry.model_copy(update={"details": entry.details.model_copy(update={"consumers": found})})
        if isinstance(entry, EventEntry) and (found := _consumers_of(entry, consumers, dead_letters))
        else entry
        for entry in every
    ]


def _consumers_of(
    event: EventEntry, consumers: Sequence[ConsumerState], dead_letters: Sequence[DeadLetterEntry]
) -> list[EventConsumer]:
    return [
        EventConsumer(consumer=each.consumer, outcome=_outcome(event, each, dead_letters))
        for each in consumers
        if each.topic == event.details.topic and each.key == event.details.key and event.details.type in each.handles
    ]


def _outcome(event: EventEntry, consumer: ConsumerState, dead_letters: Sequence[DeadLetterEntry]) -> ConsumerOutcome:
    letter = next(
        (
            each.details
            for each in reversed(dead_letters)
            if each.event_id == event.event_id and each.details.consumer == consumer.consumer
        ),
        None,
    )
    if letter is not None and letter.resolution is None:
        return "blocked" if letter.reason == "blocked" else "dead_letter"
    if letter is not None:
        return "applied" if letter.resolution == "replayed" else "discarded"
    has_seen = consumer.sequence is not None and consumer.sequence >= event.details.sequence
    return "applied" if has_seen else "waiting"


def _linked(entries: Sequence[AnyEntry]) -> list[AnyEntry]:
    """Return the entries, with the event and the trace of those whose rows store neither."""
    events: dict[str, list[EventEntry]] = {}
    for entry in entries:
        if isinstance(entry, EventEntry):
            events.setdefault(entry.details.type, []).append(entry)
    used: dict[tuple[str, str], int] = {}
    linked: list[AnyEntry] = []
    for entry in sorted(entries, key=lambda each: each.time):
        event_type = _event_type_of(entry)
        if event_type is None:
            linked.append(entry)
            continue
        position = used.get((entry.kind, event_type), 0)
        used[entry.kind, event_type] = position + 1
        found = events.get(event_type, [])
        if position < len(found):
            update = {"event_id": found[position].event_id, "trace_id": found[position].trace_id}
            entry = entry.model_copy(update=update)  # noqa: PLW2901 - the same entry, linked
        linked.append(entry)
    return linked


def _event_type_of(entry: AnyEntry) -> str | None:
    """Return the type of the event that tells of a row, or has caused it."""
    if isinstance(entry, RequestEntry):
        return "order.created"
    if isinstance(entry, OrderEntry):
        if entry.details.amount_cents is not None:
            return "order.refunded"
        return "order.created" if entry.details.status == "pending" else f"order.{entry.details.status}"
    if isinstance(entry, CreditEntry):
        caused_by = {"used": "order.shipped", "refunded": "order.refunded", "corrected": "order.snapshot"}
        return caused_by.get(entry.details.change, f"user.credit_{entry.details.change}")
    return None
