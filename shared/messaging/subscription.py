"""What a service does with the events of one topic: a table from type to handler."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from shared.events.contract import Event
from shared.messaging.envelope import EventContext

E = TypeVar("E", bound=Event)
Handler = Callable[[AsyncSession, E, EventContext], Awaitable[None]]
BatchHandler = Callable[[AsyncSession, Sequence[tuple[Any, EventContext]]], Awaitable[None]]


@dataclass(frozen=True, eq=False)
class Handling:
    """A handler, and the types it handles by their names."""

    handler: Callable[..., Awaitable[None]]
    event_classes: dict[str, type[Event]]
    takes_many: bool = False


class Subscription:
    """The handlers of one topic. A type without a handler is none of this service's business.

    A handler changes the database through the session it gets, records events, enqueues jobs, and does nothing
    else: it may be run again after a rollback. It raises a Refusal for what can never be applied.
    """

    def __init__(self, topic: str, *, partitions_at_once: int = 1) -> None:
        """More than one partition at once only where the handlers of two keys lock no row in common."""
        self.topic = topic
        self.partitions_at_once = partitions_at_once
        self._handlings: dict[str, Handling] = {}

    def on(self, event_type: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        """Register the handler of one type. Raises: ValueError for another topic's type or a second handler."""

        def register(handler: Handler[E]) -> Handler[E]:
            self._add(Handling(handler, {event_type.type: event_type}))
            return handler

        return register

    def on_many(self, *event_types: type[Event]) -> Callable[[BatchHandler], BatchHandler]:
        """Register a handler that gets neighbouring events of these types together, in their order.

        A key may be there more than once. It runs outside of the events' traces, so what records events takes them
        one by one. Raises: as `on`.
        """

        def register(handler: BatchHandler) -> BatchHandler:
            self._add(Handling(handler, {each.type: each for each in event_types}, takes_many=True))
            return handler

        return register

    def handling_of(self, event_type: str) -> Handling | None:
        """Who handles a type; None when this service ignores it."""
        return self._handlings.get(event_type)

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


def by_consumer(service: str, subscriptions: Iterable[Subscription]) -> dict[str, Subscription]:
    """A service's subscriptions by the names under which they consume: of the Kafka group and in the inbox."""
    return {f"{service}.{subscription.topic}": subscription for subscription in subscriptions}
