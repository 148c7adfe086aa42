"""One order is one trace, from the gateway to the mail, and a broken collector changes nothing for an order."""

from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from deploy.local.ports import free_port
from tests.deploy.running_gateway import gateway
from tests.harness.collector import Collector, tree_of
from tests.harness.http_server import served
from tests.harness.mail import MailCatcher
from tests.harness.waiting import until
from tests.journeys.processes import SERVICES, Customer, RunningServices, customer_of

TREE = []


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
            requests = collector.requests

            async def is_asked(requests: int = requests) -> bool:
                return collector.requests > requests

            await until(is_asked, what="the collector is asked")
            await place_order(ada, smtp_catcher, mails=mails)
        collector.delay_seconds = 0.0
        endpoint = f"http://127.0.0.1:{collector_port}"
        async with gateway(tmp_path, **services.urls, otlp_endpoint=endpoint) as client:
            through = replace(ada, urls={**ada.urls, "orders": str(client.base_url).rstrip("/")})
            await place_order(through, smtp_catcher, mails=5)
            import asyncio

            await asyncio.sleep(8)
    out = open("/tmp/t-dump.txt", "w")
    roots = [one for one in collector.spans if one.service == "gateway" and not one.parent_id]
    for root in roots:
        print("\n".join(tree_of(collector.trace(root.trace_id))), file=out)
        for s in collector.trace(root.trace_id):
            print(s, file=out)
        for s in SERVICES:
            print(
                s,
                [
                    l
                    for l in (services.logs / f"{s}.log").read_text().splitlines()
                    if root.trace_id in l or "telemetry" in l
                ],
                file=out,
            )
        print([l for l in collector.lines if l.trace_id == root.trace_id], file=out)
    print("----- others", file=out)
    for t in dict.fromkeys(s.trace_id for s in collector.spans):
        print("\n".join(tree_of(collector.trace(t))), file=out)
        print(file=out)
    print(collector.resources, file=out)
    for s in SERVICES:
        async with httpx2.AsyncClient() as client:
            print(
                s,
                [l for l in (await client.get(services.urls[s] + "/metrics")).text.splitlines() if "telemetry" in l],
                file=out,
            )
    import time

    a = time.time()
    print(await services.stop(), time.time() - a, file=out)
    for s in SERVICES:
        print("\n".join((services.logs / f"{s}.log").read_text().splitlines()[-5:]), file=out)
    assert 0


async def place_order(customer: Customer, mail: MailCatcher, *, mails: int) -> None:
    """Place an order, and wait until it is confirmed and mailed."""
    order_id = await customer.order("LAMP", 1)
    assert await customer.status_once_decided(order_id) == "confirmed"
    await mail.wait_for(to=customer.email, count=mails, timeout_seconds=40)
