"""One order is one trace, from the gateway to the mail, and a broken collector changes nothing for an order."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.ports import free_port
from deploy.local.state import CHECKOUT
from tests.deploy.running_gateway import gateway
from tests.harness.collector import CollectedLine, Collector, tree_of
from tests.harness.http_server import served
from tests.harness.mail import MailCatcher
from tests.harness.waiting import until
from tests.journeys.processes import SERVICES, Customer, RunningServices, customer_of

MAX_STOP_SECONDS = 15
"""A service whose collector is away may wait 2 s for it as it stops; the rest is a busy machine."""
TREE = """
gateway server POST
  gateway client ReverseProxy
    orders server POST /v1/orders
      orders internal acquire connection
      orders client SELECT product
      orders client UPDATE product, INSERT customer_order, INSERT order_item, ...
      orders internal outbox
        orders client INSERT event_stream, INSERT outbox
      orders client COMMIT
      orders producer publish order.created
        users consumer apply order.created
          users internal batch users.orders
            users internal acquire connection
            users client INSERT inbox_sequence, INSERT inbox
            users client SELECT credit_account
            users client SELECT credit_reservation
            users client INSERT credit_reservation, UPDATE credit_reservation, INSERT credit_entry, ...
            users internal outbox
              users client INSERT event_stream, INSERT outbox
            users client COMMIT
          users producer publish user.credit_reserved
            orders consumer apply user.credit_reserved
              orders internal batch orders.users
                orders internal acquire connection
                orders client INSERT inbox_sequence, INSERT inbox
                orders client SELECT customer_order
                orders client UPDATE customer_order, INSERT order_timeline
                orders internal outbox
                  orders client INSERT event_stream, INSERT outbox
                orders client COMMIT
              orders producer publish order.confirmed
                notifications consumer apply order.confirmed
                  notifications internal batch notifications.orders
                    notifications internal acquire connection
                    notifications client INSERT inbox_sequence, INSERT inbox
                    notifications client SELECT recipient
                    notifications client INSERT notification, INSERT delivery
                    notifications internal outbox
                      notifications client INSERT event_stream, INSERT outbox
                    notifications client COMMIT
                  notifications client deliver email
                    notifications client SMTP
                  notifications producer publish notification.sent
                  notifications producer publish notification.sent
""".strip().splitlines()


@pytest.fixture
def collector_port() -> int:
    return free_port()


@pytest.fixture
def more_environment(collector_port: int) -> dict[str, str]:
    endpoint = f"http://127.0.0.1:{collector_port}"
    return {f"{service.upper()}_OTLP_ENDPOINT": endpoint for service in SERVICES} | {
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=7",
    }


async def test_an_order_is_one_trace_and_a_broken_collector_changes_nothing(
    services: RunningServices, collector_port: int, smtp_catcher: MailCatcher, tmp_path: Path
) -> None:
    ada, collector = await customer_of(services, "ada"), Collector()
    # The collector is away, then it refuses, then it is slow.
    await place_order(ada, smtp_catcher, mails=2)
    async with served(collector.app(), port=collector_port):
        for mails, collector.status, collector.delay_seconds in ((3, 503, 0.0), (4, 200, 2.0)):
            await until_asked(collector)
            await place_order(ada, smtp_catcher, mails=mails)
        collector.delay_seconds = 0.0
        endpoint = f"http://127.0.0.1:{collector_port}"
        async with gateway(tmp_path, **services.urls, otlp_endpoint=endpoint) as client:
            through = replace(ada, urls={**ada.urls, "orders": str(client.base_url).rstrip("/")})
            await place_order(through, smtp_catcher, mails=5)
            trace_id = await trace_of_placed_order(collector)
        check_trace(collector, trace_id)
        await check_lines(services, collector, trace_id)
        await check_drops(services)
    # Away again: it does not keep the services from stopping.
    began_at = time.monotonic()
    assert await services.stop() == dict.fromkeys(SERVICES, 0)
    assert time.monotonic() - began_at < MAX_STOP_SECONDS
    for service in SERVICES:
        events = [line["event"] for line in printed(services, service)]
        # Once per signal and outage, not for each export.
        assert 2 <= events.count("telemetry_not_exported") <= 8, events


def test_the_page_shows_the_tree() -> None:
    assert "\n".join(TREE) in (CHECKOUT / "docs" / "telemetry.md").read_text()


async def place_order(customer: Customer, mail: MailCatcher, *, mails: int) -> None:
    """Place an order, and wait until it is confirmed and mailed."""
    order_id = await customer.order("LAMP", 1)
    assert await customer.status_once_decided(order_id) == "confirmed"
    received = await mail.wait_for(to=customer.email, count=mails, timeout_seconds=40)
    assert not {"traceparent", "tracestate"} & {name.lower() for name, *_ in received[0]["headers"]}


async def until_asked(collector: Collector) -> None:
    """Wait for the next request of an exporter."""
    requests = collector.requests

    async def is_asked() -> bool:
        return collector.requests > requests

    await until(is_asked, what="the collector is asked")


async def trace_of_placed_order(collector: Collector) -> str:
    """Return the trace that the gateway began for POST /v1/orders, once it has as many spans as it should."""
    found: list[str] = []

    async def is_whole() -> bool:
        found[:] = [one.trace_id for one in collector.spans if (one.service, one.name) == ("gateway", "POST")]
        # The outcome of the mail is recorded in a trace of its own, after the last span of the order's.
        return len(found) == 1 and len(collector.trace(found[0])) >= len(TREE) and bool(delivery_batches(collector))

    try:
        await until(is_whole)
    except AssertionError:
        assert [tree_of(collector.trace(one)) for one in found] == [TREE]
        raise
    return found[0]


def delivery_batches(collector: Collector) -> list[tuple[str, ...]]:
    """Return the links of the transactions that recorded outcomes of mails."""
    batches = [one for one in collector.spans if one.name == "batch deliveries"]
    return [one.links for one in batches if one.attributes["orderly.outcomes"]]


def check_trace(collector: Collector, trace_id: str) -> None:
    """Check the tree, and what its spans say."""
    trace = collector.trace(trace_id)
    assert tree_of(trace) == TREE
    assert not [one for one in trace if one.has_failed]
    named = {one.name: one for one in trace}
    applied, published = named["apply order.created"], named["publish order.created"]
    assert {one.attributes["orderly.outcome"] for one in trace if one.kind == "consumer"} == {"applied"}
    same = ("messaging.kafka.offset", "messaging.destination.partition.id", "messaging.kafka.message.key")
    assert [applied.attributes[name] for name in same] == [published.attributes[name] for name in same]
    assert 0 <= published.attributes["orderly.outbox.waiting_seconds"] < 60
    # A batch that joins many traces is linked with them: the relay's page, and the outcomes of mails.
    pages = {one.span_id: one for one in collector.spans if one.name == "publish page"}
    assert published.span_id in pages[published.links[0]].links
    assert named["apply order.confirmed"].span_id in {link for links in delivery_batches(collector) for link in links}
    assert "@example.com" not in str(collector.spans)
    for service in SERVICES:
        assert collector.resources[service] >= {"service.name", "service.instance.id", "service.version"}


async def check_lines(services: RunningServices, collector: Collector, trace_id: str) -> None:
    """Check that every line that is logged about the order is exported with the trace and a span of it."""
    logged = [
        (service, line["event"])
        for service in SERVICES
        for line in printed(services, service)
        if line.get("trace_id") == trace_id
    ]
    assert logged == [
        ("orders", "order_placed"),
        ("orders", "request_finished"),
        ("notifications", "delivery_sent"),
    ]

    def exported() -> list[CollectedLine]:
        return [one for one in collector.lines if one.trace_id == trace_id]

    async def are_exported() -> bool:
        return len(exported()) >= len(logged)

    await until(are_exported, what="the lines are exported")
    lines = exported()
    assert sorted((one.service, one.body) for one in lines) == sorted(logged)
    assert {one.span_id for one in lines} <= {one.span_id for one in collector.trace(trace_id)}
    assert "@example.com" not in str(collector.lines)


async def check_drops(services: RunningServices) -> None:
    """Check that what the collector did not take is counted."""
    async with httpx2.AsyncClient() as client:
        for service in SERVICES:
            page = (await client.get(f"{services.urls[service]}/metrics")).text
            [dropped] = [
                line for line in page.splitlines() if line.startswith('telemetry_dropped_total{signal="span"}')
            ]
            assert float(dropped.split()[-1]) > 0


def printed(services: RunningServices, service: str) -> list[dict[str, Any]]:
    """Return what a service has logged to its standard output."""
    return [json.loads(line) for line in (services.logs / f"{service}.log").read_text().splitlines()]
