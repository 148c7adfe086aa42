"""Every event has one publisher, a declared topic, and consumers that are subscribed to it."""

import ast
from importlib import import_module

from deploy.audit.streams import HANDLED_TYPES
from shared.events.topics import TOPICS
from tests.architecture.source import CHECKOUT, Module
from tests.contracts.events import CONTRACTS, handled, publishers, subscriptions


def test_every_event_is_published_by_the_service_that_declares_it() -> None:
    declared = {event_type: {event.__module__.rpartition(".")[2]} for event_type, event in CONTRACTS.items()}
    assert publishers() == declared


def test_every_topic_has_the_events_of_one_producer() -> None:
    produced = {topic.name: {topic.producer} for topic in TOPICS}
    published_by: dict[str, set[str]] = {}
    for event_type, services in publishers().items():
        published_by.setdefault(CONTRACTS[event_type].topic, set()).update(services)
    assert published_by == produced


def test_the_demo_knows_which_events_move_a_consumers_position() -> None:
    found: dict[str, dict[str, set[str]]] = {}
    for each in handled():
        found.setdefault(each.event_class.topic, {}).setdefault(each.service, set()).add(each.event_class.type)
    declared = {
        topic: {service: set(types) for service, types in services.items()} for topic, services in HANDLED_TYPES.items()
    }
    assert declared == found


def test_every_topic_has_events_and_every_event_has_a_topic() -> None:
    assert {topic.name for topic in TOPICS} == {event.topic for event in CONTRACTS.values()}


def test_every_key_is_a_required_field() -> None:
    optional = [
        event_type
        for event_type, event in CONTRACTS.items()
        if event.key_field not in event.model_fields or not event.model_fields[event.key_field].is_required()
    ]
    assert optional == []


def test_every_event_has_a_docstring() -> None:
    assert [event_type for event_type, event in CONTRACTS.items() if not event.__doc__] == []


def test_every_handled_event_is_published() -> None:
    published_by = publishers()
    assert [each for each in handled() if not published_by[each.event_class.type]] == []


def test_no_service_consumes_its_own_events() -> None:
    published_by = publishers()
    assert [each for each in handled() if each.service in published_by[each.event_class.type]] == []


def test_every_subscription_is_passed_to_its_service() -> None:
    """The events of a subscription that is not passed would never be consumed or replayed, without any error."""
    for service, defined in subscriptions().items():
        declared = import_module(f"services.{service}.subscribers").SUBSCRIPTIONS
        assert set(declared) == set(defined), service
        assert _passed_as_subscriptions(service) == ["SUBSCRIPTIONS"], service


def _passed_as_subscriptions(service: str) -> list[str]:
    """Return the arguments named `subscriptions` in app.py, which should be `SUBSCRIPTIONS`."""
    app = Module(CHECKOUT / "services" / service / "app.py")
    return [
        ast.unparse(keyword.value)
        for call in ast.walk(app.tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "subscriptions"
    ]
