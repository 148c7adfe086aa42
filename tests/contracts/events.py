"""Who sends which event and who reads it, as the code says."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from shared.events.contract import EVENT_TYPES, Event
from shared.messaging.consumer.subscription import Subscription
from tests.architecture.source import SERVICES, modules_under

for name in SERVICES:
    import_module(f"shared.events.{name}")

CONTRACTS: Mapping[str, type[Event]] = dict(sorted(EVENT_TYPES.items()))
"""Every event by its type."""


@dataclass(frozen=True)
class Handled:
    """One line of a service's subscribers."""

    service: str
    event_class: type[Event]
    handler: str


def senders() -> dict[str, set[str]]:
    """Event type -> services that record it: they import its class and `record` into one module."""
    sent: dict[str, set[str]] = {event_type: set() for event_type in CONTRACTS}
    types = {(event.__module__, event.__name__): event_type for event_type, event in CONTRACTS.items()}
    for service in SERVICES:
        for module in modules_under(f"services/{service}"):
            imports = set(module.imports())
            if ("shared.messaging.outbox.outbox", "record") in imports:
                for imported in imports & types.keys():
                    sent[types[imported]].add(service)  # type: ignore[index]  # keys of `types` have a name
    return sent


def subscriptions() -> dict[str, list[Subscription]]:
    """Service -> its subscriptions."""
    return {
        service: [
            value
            for value in vars(import_module(f"services.{service}.subscribers")).values()
            if isinstance(value, Subscription)
        ]
        for service in SERVICES
    }


def handled() -> list[Handled]:
    """Every handler of every service."""
    found = []
    for service, its_subscriptions in subscriptions().items():
        for subscription in its_subscriptions:
            for event_class in subscription.event_types:
                handling = subscription.handling_of(event_class.type)
                if handling is not None:
                    found.append(Handled(service, event_class, handling.handler.__name__))
    return found


def readers() -> dict[str, list[str]]:
    """Event type -> "service: `handler`" of each that reads it."""
    found: dict[str, list[str]] = {event_type: [] for event_type in CONTRACTS}
    for line in handled():
        found[line.event_class.type].append(f"{line.service}: `{line.handler}`")
    return found


def event_table() -> str:
    """Markdown: event x sender x readers."""
    sent, read_by = senders(), readers()
    rows = ["| event | topic | key | sent by | read by |", "|---|---|---|---|---|"]
    for event_type, event in sorted(CONTRACTS.items(), key=lambda item: (item[1].__module__, item[1].topic, item[0])):
        rows.append(
            f"| `{event_type}` | {event.topic} | {event.key_field} | {', '.join(sorted(sent[event_type]))} "
            f"| {'<br>'.join(read_by[event_type]) or 'subscribers outside'} |"
        )
    return "\n".join(rows)
