"""Every event has one sender, a topic that is declared, and readers that know it."""

import ast
from importlib import import_module

from shared.events.topics import TOPICS
from tests.architecture.source import CHECKOUT, Module
from tests.contracts.events import CONTRACTS, handled, senders, subscriptions


def test_every_event_is_sent_by_the_service_whose_module_declares_it() -> None:
    declared = {event_type: {event.__module__.rpartition(".")[2]} for event_type, event in CONTRACTS.items()}
    assert senders() == declared


def test_every_topic_that_is_declared_has_events_and_every_event_a_topic() -> None:
    assert {topic.name for topic in TOPICS} == {event.topic for event in CONTRACTS.values()}


def test_every_key_is_a_field_that_the_event_must_have() -> None:
    optional = [
        event_type
        for event_type, event in CONTRACTS.items()
        if event.key_field not in event.model_fields or not event.model_fields[event.key_field].is_required()
    ]
    assert optional == []


def test_every_event_says_in_a_docstring_what_happened() -> None:
    assert [event_type for event_type, event in CONTRACTS.items() if not event.__doc__] == []


def test_every_handler_reads_an_event_that_somebody_sends() -> None:
    sent = senders()
    assert [line for line in handled() if not sent[line.event_class.type]] == []


def test_no_service_reads_what_it_sends_itself() -> None:
    sent = senders()
    assert [line for line in handled() if line.service in sent[line.event_class.type]] == []


def test_every_subscription_is_given_to_its_service() -> None:
    """One that is forgotten would never be read or replayed, and nothing would fail."""
    for service, defined in subscriptions().items():
        declared = import_module(f"services.{service}.subscribers").SUBSCRIPTIONS
        assert set(declared) == set(defined), service
        assert _given_as_subscriptions(service) == ["SUBSCRIPTIONS"], service


def _given_as_subscriptions(service: str) -> list[str]:
    """In app.py: `subscriptions=SUBSCRIPTIONS`."""
    app = Module(CHECKOUT / "services" / service / "app.py")
    return [
        ast.unparse(keyword.value)
        for call in ast.walk(app.tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "subscriptions"
    ]
