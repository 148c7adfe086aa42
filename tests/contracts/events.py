"""The publishers and consumers of every event, read from the code."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from shared.events.contract import EVENT_TYPES, Event
from shared.messaging.consumer.subscription import Subscription
from tests.architecture.source import SERVICES, modules_under

for name in SERVICES:
    import_module(f"shared.events.{name}")

CONTRACTS: Mapping[str, type[Event]] = dict(sorted(EVENT_TYPES.items()))
"""Every event class by its type."""
OUTSIDE = "outside subscribers"
"""The consumers of an event that no service consumes."""


@dataclass(frozen=True)
class Handled:
    """A handler of a service, and the event that it handles."""

    service: str
    event_class: type[Event]
    handler: str


def publishers() -> dict[str, set[str]]:
    """Return the services that publish each event type: a module of theirs imports its class and `record`."""
    found: dict[str, set[str]] = {event_type: set() for event_type in CONTRACTS}
    types = {(event.__module__, event.__name__): event_type for event_type, event in CONTRACTS.items()}
    for service in SERVICES:
        for module in modules_under(f"services/{service}"):
            imports = set(module.imports())
            if ("shared.messaging.outbox.outbox", "record") in imports:
                for imported in imports & types.keys():
                    found[types[imported]].add(service)  # type: ignore[index]  # keys of `types` have a name
    return found


def subscriptions() -> dict[str, list[Subscription]]:
    """Return the subscriptions of each service."""
    return {
        service: [
            value
            for value in vars(import_module(f"services.{service}.subscribers")).values()
            if isinstance(value, Subscription)
        ]
        for service in SERVICES
    }


def handled() -> list[Handled]:
    """Return every handler of every service."""
    found = []
    for service, service_subscriptions in subscriptions().items():
        for subscription in service_subscriptions:
            for event_class in subscription.event_types:
                handling = subscription.handling_of(event_class.type)
                if handling is not None:
                    found.append(Handled(service, event_class, handling.handler.__name__))
    return found


def consumers() -> dict[str, list[str]]:
    """Return the consumers of each event type, as "service: `handler`"."""
    found: dict[str, list[str]] = {event_type: [] for event_type in CONTRACTS}
    for each in handled():
        found[each.event_class.type].append(f"{each.service}: `{each.handler}`")
    return found


def event_table() -> str:
    """Return a Markdown table of all events."""
    published_by, consumed_by = publishers(), consumers()
    rows = ["| event | topic | key | published by | consumed by |", "|---|---|---|---|---|"]
    for event_type, event in sorted(CONTRACTS.items(), key=lambda item: (item[1].__module__, item[1].topic, item[0])):
        rows.append(
            f"| `{event_type}` | {event.topic} | {event.key_field} | {', '.join(sorted(published_by[event_type]))} "
            f"| {'<br>'.join(consumed_by[event_type]) or OUTSIDE} |"
        )
    return "\n".join(rows)
