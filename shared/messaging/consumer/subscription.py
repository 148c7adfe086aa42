"""Subscriptions: a service's handlers for the events of one topic, by event type."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from shared.events.contract import Event
from shared.events.topics import consumer_of, topic_named
from shared.messaging.envelope import EventContext, RawHeaders

E = TypeVar("E", bound=Event)
Handler = Callable[[AsyncSession, E, EventContext], Awaitable[None]]
BatchHandler = Callable[[AsyncSession, Sequence[tuple[Any, EventContext]]], Awaitable[None]]


@dataclass(frozen=True, eq=False)
class Handling:
    """A handler and the classes of the events it handles, by their types."""

    handler: Callable[..., Awaitable[None]]
    event_classes: dict[str, type[Event]]
    takes_batch: bool = False
    """Whether one call takes several neighbouring events."""


class Subscription:
    """The handlers of one topic. The service ignores types that have no handler, whoever sent them.

    A handler changes the database through the session it gets, records events, enqueues jobs, and does nothing
    else: it may be run again after a rollback. It raises a Problem for an event that it can never apply.
    """

    def __init__(self, topic: str, *, batches_at_once: int = 1, fetch_min_bytes: int = 1) -> None:
        """Apply up to `batches_at_once` batches of different partitions side by side. `topic` is a declared one.

        More than one is safe only if their transactions cannot deadlock. Kafka answers a fetch once `fetch_min_bytes`
        are there, or after half a second: a higher value means fewer fetches, and a delay for events that come alone.
        """
        self.topic = topic
        self.source = topic_named(topic).source
        """The `ce_source` of the events that may be applied."""
        self.batches_at_once = batches_at_once
        self.fetch_min_bytes = fetch_min_bytes
        self._handlings: dict[str, Handling] = {}
        self._raw_types: set[bytes] = set()

    def on(self, event_type: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        """Register the handler of one type. Raises: ValueError for another topic's type or a second handler."""

        def register(handler: Handler[E]) -> Handler[E]:
            self._add(Handling(handler, {event_type.type: event_type}))
            return handler

        return register

    def on_batch(self, *event_types: type[Event]) -> Callable[[BatchHandler], BatchHandler]:
        """Register a handler that takes neighbouring events of these types in one call, in their order.

        A key may occur more than once. The handler runs outside of the events' traces, so a handler that records
        events continues the trace of each with `continued_trace`. After a failure its call is
        repeated in smaller parts, each in a savepoint, until the failing event is alone. Raises: as `on`.
        """

        def register(handler: BatchHandler) -> BatchHandler:
            self._add(Handling(handler, {each.type: each for each in event_types}, takes_batch=True))
            return handler

        return register

    def handling_of(self, event_type: str) -> Handling | None:
        """Return what handles a type; None if the service ignores it."""
        return self._handlings.get(event_type)

    def ignores(self, headers: RawHeaders) -> bool:
        """Return whether a record is an event of a type without a handler. One without a type is no event at all."""
        event_type = headers.get("ce_type")
        return bool(event_type) and event_type not in self._raw_types

    def trusts(self, context: EventContext | None) -> bool:
        """Return whether an event has a handler, and comes from the topic's producer."""
        return context is not None and context.type in self._handlings and context.source == self.source

    @property
    def event_types(self) -> list[type[Event]]:
        """The classes that have a handler."""
        return [handling.event_classes[name] for name, handling in self._handlings.items()]

    def _add(self, handling: Handling) -> None:
        for name, event_class in handling.event_classes.items():
            if event_class.topic != self.topic:
                raise ValueError(f"{name} is sent on {event_class.topic}, not on {self.topic}")
            if name in self._handlings:
                raise ValueError(f"{name} has a handler already")
            self._handlings[name] = handling
            self._raw_types.add(name.encode())


def by_consumer(service: str, subscriptions: Iterable[Subscription]) -> dict[str, Subscription]:
    """Return a service's subscriptions by consumer name, which is also the name of the Kafka group."""
    return {consumer_of(service, subscription.topic): subscription for subscription in subscriptions}
