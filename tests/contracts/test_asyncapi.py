"""The AsyncAPI documents are complete, match the code, and are served without external resources."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi import FastAPI

from shared.asyncapi import asyncapi_document
from shared.events.topics import TOPICS
from shared.ids import new_id
from shared.messaging.envelope import encode_headers
from shared.schema_fields import fields_of, resolved
from tests.architecture.source import SERVICES
from tests.contracts.events import CONTRACTS, handled, publishers, subscriptions
from tests.harness.asgi import client_of

Document = dict[str, Any]
PAGES = ("/asyncapi", "/docs")


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    return {
        service: asyncapi_document(
            service=service, description="A test.", subscriptions=subscriptions()[service], topic_prefix="eu."
        )
        for service in SERVICES
    }


def test_every_event_is_published_in_exactly_one_document(documents: dict[str, Document]) -> None:
    published = [(event, service) for service, document in documents.items() for event in _events(document, "send")]
    expected = [(event, service) for event, services in publishers().items() for service in services]
    assert sorted(published) == sorted(expected)
    assert sorted(event for event, _ in published) == sorted(CONTRACTS)


def test_every_service_receives_the_events_that_it_handles(documents: dict[str, Document]) -> None:
    received = [(service, event) for service, document in documents.items() for event in _events(document, "receive")]
    assert sorted(received) == sorted((each.service, each.event_class.type) for each in handled())


@pytest.mark.parametrize("service", SERVICES)
def test_every_reference_has_a_target(documents: dict[str, Document], service: str) -> None:
    references = list(_references(documents[service]))
    assert references
    for reference in references:
        assert resolved({"$ref": reference}, documents[service])


@pytest.mark.parametrize("service", SERVICES)
def test_every_message_and_schema_is_used(documents: dict[str, Document], service: str) -> None:
    defined = documents[service]["components"]
    names = {f"#/components/{kind}/{name}" for kind, entries in defined.items() for name in entries}
    assert names - set(_references(documents[service])) == set()


def test_a_message_describes_the_data_the_headers_and_the_key(documents: dict[str, Document]) -> None:
    for document in documents.values():
        for event_type, message in document["components"]["messages"].items():
            event = CONTRACTS[event_type]
            fields = {field.path for field in fields_of(message["payload"], document=document)}
            assert set(event.model_fields) <= fields
            assert event.key_field in message["bindings"]["kafka"]["key"]["description"]
            assert message["examples"][-1]["headers"]["ce_type"] == event_type
            assert set(message["examples"][-1]["payload"]) == set(event.model_fields)


def test_the_documented_headers_are_the_published_ones(documents: dict[str, Document]) -> None:
    headers = documents["orders"]["components"]["schemas"]["CloudEventHeaders"]
    assert set(headers["properties"]) == _header_names(trace="00-1-2-01")
    assert set(headers["required"]) == _header_names(trace=None)


def test_channels_and_groups_have_the_topic_prefix(documents: dict[str, Document]) -> None:
    orders = documents["orders"]
    topic = next(topic for topic in TOPICS if topic.name == "orders")
    assert orders["channels"]["orders"]["address"] == "eu.orders"
    assert orders["channels"]["orders"]["bindings"]["kafka"]["partitions"] == topic.partitions
    assert orders["operations"]["receive.users"]["bindings"]["kafka"]["groupId"]["const"] == "eu.orders.users"


def test_every_broker_is_a_server_of_the_document() -> None:
    document = asyncapi_document(service="users", description="", subscriptions=[], bootstrap_servers="a:1, b:2")
    assert [server["host"] for server in document["servers"].values()] == ["a:1", "b:2"]


@pytest.mark.parametrize("service", SERVICES)
async def test_the_document_is_served(apps: dict[str, FastAPI], service: str) -> None:
    async with client_of(apps[service]) as client:
        document = (await client.get("/asyncapi.json")).json()

    assert document["asyncapi"] == "3.0.0"
    assert set(_events(document, "send")) == {event for event, services in publishers().items() if service in services}


@pytest.mark.parametrize("service", SERVICES)
async def test_the_page_shows_every_event_field_and_example(apps: dict[str, FastAPI], service: str) -> None:
    async with client_of(apps[service]) as client:
        document = (await client.get("/asyncapi.json")).json()
        page = (await client.get("/asyncapi")).text

    for event_type, message in document["components"]["messages"].items():
        assert page.count(f'<h3 id="{event_type}">') == 1
        assert all(f"<code>{field.path}</code>" in page for field in fields_of(message["payload"], document=document))
    assert page.count("<summary>Example</summary>") == len(document["components"]["messages"])


@pytest.mark.parametrize("path", PAGES)
async def test_a_documentation_page_loads_no_external_resource(apps: dict[str, FastAPI], path: str) -> None:
    async with client_of(apps["orders"]) as client:
        page = await client.get(path)
        links = _Links()
        links.feed(page.text)
        local = [link for link in links.found if not link.startswith("#")]
        statuses = {link: (await client.get(f"/{link}")).status_code for link in local}

    assert page.status_code == 200
    assert not [link for link in links.found if "//" in link]
    assert statuses
    assert set(statuses.values()) == {200}


async def test_the_api_page_does_not_send_the_document_to_a_validator(apps: dict[str, FastAPI]) -> None:
    async with client_of(apps["orders"]) as client:
        page = (await client.get("/docs")).text

    assert re.search(r'"validatorUrl": null', page)
    assert "url: 'openapi.json'" in page


@pytest.mark.parametrize("name", ["nothing.js", "redoc.standalone.js", "..%2Fcore.py"])
async def test_other_files_of_the_package_are_not_served(apps: dict[str, FastAPI], name: str) -> None:
    async with client_of(apps["orders"]) as client:
        assert (await client.get(f"/docs/{name}")).status_code == 404


class _Links(HTMLParser):
    """Collects the URLs that a page loads or links to, except data URLs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        links = [value for name, value in attrs if name in {"href", "src"} and value]
        self.found += [link for link in links if not link.startswith("data:")]


def _events(document: Document, action: str) -> Iterator[str]:
    for operation in document["operations"].values():
        if operation["action"] == action:
            yield from (resolved(message, document)["name"] for message in operation["messages"])


def _references(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _header_names(*, trace: str | None) -> set[str]:
    headers = encode_headers(
        event_id=new_id(),
        event_type="order.created",
        source="urn:orderly:orders",
        dataschema="urn:orderly:event:order.created",
        occurred_at=datetime.now(UTC),
        key="1",
        sequence=1,
        traceparent=trace,
        tracestate=trace,
    )
    return {name for name, _ in headers}
