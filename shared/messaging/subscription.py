"""What a service does with the events of one topic: a table from type to handler."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from shared.events.contract import Event
from shared.messaging.envelope import EventContext

E = TypeVar("E", bound=Event)
Handler = Callable[[AsyncSession, E, EventContext], Awaitable[None]]


class Subscription:
    """The handlers of one topic. A type without a handler is none of this service's business.

    A handler changes the database through the session it gets, records events, enqueues jobs, and does nothing
    else: it may be run again after a rollback. It raises a Refusal for what can never be applied.
    """

    def __init__(self, topic: str, *, partitions_at_once: int = 1) -> None:
        """More than one partition at once only where the handlers of two keys lock no row in common."""
        self.topic = topic
        self.partitions_at_once = partitions_at_once
        self._handlers: dict[str, tuple[type[Event], Handler[Any]]] = {}

    def on(self, event_type: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        """Register the handler of one type. Raises: ValueError for another topic's type or a second handler."""
        if event_type.topic != self.topic:
            raise ValueError(f"{event_type.type} is sent on {event_type.topic}, not on {self.topic}")
        if event_type.type in self._handlers:
            raise ValueError(f"{event_type.type} has a handler already")

        def register(handler: Handler[E]) -> Handler[E]:
            self._handlers[event_type.type] = (event_type, handler)
            return handler

        return register

    def handler_of(self, event_type: str) -> tuple[type[Event], Handler[Any]] | None:
        """The class and the handler of a type; None when this service ignores it."""
        return self._handlers.get(event_type)

    @property
    def event_types(self) -> list[type[Event]]:
        """The classes that have a handler."""
        return [event_class for event_class, _ in self._handlers.values()]


def by_consumer(service: str, subscriptions: Iterable[Subscription]) -> dict[str, Subscription]:
    """A service's subscriptions by the names under which they consume: of the Kafka group and in the inbox."""
    return {f"{service}.{subscription.topic}": subscription for subscription in subscriptions}
