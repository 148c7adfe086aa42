"""A load by `python -m deploy.load`, as people and the console start it, on the services behind the gateway."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console

from deploy.audit.databases import connected
from deploy.demo.catalogue import products_of
from deploy.demo.invoices import read_lines
from deploy.load.soak_samples import Sampler
from deploy.load.stock import AMPLE_STOCK, refill_in_database
from deploy.local.screen import Screen
from deploy.local.state import CHECKOUT
from services.orders.catalogue_commands import import_products
from services.orders.schemas import NewProduct
from shared.connection_urls import dsn_of
from shared.database import open_database
from tests.deploy.running_gateway import gateway
from tests.harness.waiting import until
from tests.journeys.processes import (
    ADMIN_EMAIL,
    PASSWORD,
    SERVICES,
    RunningServices,
    broken_invariants,
    create_admin_of,
)

ACCOUNTS = 6
LINES_OF_CATALOGUE = 20_000
"""Rows of the order data whose products are in the catalogue: enough for most baskets."""

SOLD_OUT = "85123A"
"""A popular product, whose stock is used up when the first load begins."""


@dataclass
class Load:
    """Starts loads on one target, with a folder of its own."""

    url: str
    services: RunningServices
    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ, "PYTHONPATH": str(CHECKOUT)})

    def start(self, *options: str) -> subprocess.Popen[str]:
        password = self.folder / "admin-password"
        password.write_text(f"{PASSWORD}\n")
        usual = {
            "--url": self.url,
            "--admin-email": ADMIN_EMAIL,
            "--admin-password-file": str(password),
            "--accounts": str(ACCOUNTS),
            "--accounts-file": str(self.folder / "accounts.json"),
            "--seed": "7",
        }
        given = [part for pair in usual.items() for part in pair]
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.load", "run", *given, "--json-lines", *options],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def outcome(self, *options: str) -> tuple[int, list[dict[str, Any]], str]:
        """Return the exit status, the lines of JSON, and what was printed for people."""
        process = self.start(*options)
        output, notes = await asyncio.to_thread(process.communicate, timeout=180)
        return process.returncode, [json.loads(line) for line in output.splitlines()], notes


async def test_a_load_is_reported_judged_ended_by_sigterm_and_sampled(
    services: RunningServices, tmp_path: Path
) -> None:
    await _import_catalogue(services)
    await create_admin_of(services)
    async with gateway(tmp_path, **services.urls) as client:
        load = Load(str(client.base_url).rstrip("/"), services, tmp_path)
        await _check_that_a_good_load_passes(load)
        await _check_that_sigterm_ends_it_and_a_planted_threshold_fails_it(load)
    assert await broken_invariants(services) == []
    await _check_that_stock_is_refilled(services)
    await _check_samples(services, tmp_path)


async def _check_that_a_good_load_passes(load: Load) -> None:
    metrics = [part for service in SERVICES for part in ("--metrics", f"{service}={load.services.urls[service]}")]
    report = load.folder / "report"
    options = ["--rate", "4", "--seconds", "6", "--think", "0.1", "--warm-up", "0", "--report", str(report), *metrics]
    thresholds = load.folder / "easy.toml"
    thresholds.write_text("error_rate = 0\nsaga_p99_seconds = 30\noutbox_age_at_end_seconds = 30\npending_share = 0\n")

    status, lines, notes = await load.outcome(*options, "--thresholds", str(thresholds))

    assert status == 0, notes
    *seconds, last = lines
    summary, orders = last["summary"], seconds[-1]["orders"]
    assert len(seconds) >= 6
    assert 20 <= summary["placed"] + summary["routes"]["GET /v1/orders"]["count"] <= 26
    assert orders == {
        "placed": summary["placed"],
        "confirmed": summary["decided"]["confirmed"],
        "rejected": 0,
        "cancelled": 0,
        "pending": 0,
    }
    assert (summary["errors"], last["passed"], last["missed"], last["missing"]) == ({}, True, [], [])
    assert summary["saga"]["p50"] > 0
    assert seconds[-1]["outbox_age_seconds"] is not None
    assert 0 < summary["generator_cpu"] < 1
    assert sum(one["count"] for one in summary["routes"].values()) == summary["requests"]
    assert {"latency.png", "messaging.png", "report.html", "summary.json"} <= {file.name for file in report.iterdir()}
    # The trace of the slowest request is in the log of the service that answered it.
    logs = "".join((load.services.logs / f"{service}.log").read_text() for service in SERVICES)
    assert summary["slowest"][0]["trace_id"] in logs
    # The file has passwords.
    assert (load.folder / "accounts.json").stat().st_mode & 0o777 == 0o600


async def _check_that_sigterm_ends_it_and_a_planted_threshold_fails_it(load: Load) -> None:
    """Check a load without /metrics, whose values are then missing, and with the accounts of the first load."""
    thresholds = load.folder / "planted.toml"
    thresholds.write_text('outbox_age_at_end_seconds = 30\n[route_p99_milliseconds]\n"POST /v1/orders" = 0.1\n')
    options = ["--users", "3", "--seconds", "600", "--think", "0", "--warm-up", "0", "--thresholds", str(thresholds)]
    process = load.start(*options)
    try:
        assert process.stdout is not None
        confirmed = 0
        while not confirmed:
            confirmed = json.loads(await asyncio.to_thread(process.stdout.readline))["orders"]["confirmed"]
        process.send_signal(signal.SIGTERM)
        output, notes = await asyncio.to_thread(process.communicate, timeout=90)
    finally:
        process.kill()

    last = json.loads(output.splitlines()[-1])
    assert process.returncode == 1
    (missed,) = last["missed"]
    assert re.fullmatch(r"The p99 of POST /v1/orders is [\d.,]+ ms, above the threshold of 0\.1 ms\.", missed)
    assert missed in " ".join(notes.split())
    assert (last["stopped"], last["passed"], last["summary"]["seconds"] < 60) == (True, False, True)
    assert last["missing"][0].startswith("Outbox age and consumer lag are missing")
    assert "The outbox age at the end was not measured" in notes
    assert "Creating accounts" not in notes


async def _check_samples(services: RunningServices, folder: Path) -> None:
    """Check that a sample has a value of each kind, and that a placed order shows in it."""
    databases = _databases(services)
    state = {
        "pid": os.getpid(),
        "audit_databases": databases,
        "urls": {"valkey": services.environment["ORDERS_VALKEY_URL"]},
    }
    processes = {name: {"pid": process.pid} for name, process in services.processes.items()}
    (folder / "kafka").mkdir()
    (folder / "kafka" / "log").write_bytes(b"x" * 10_000)
    async with connected(databases) as connections:
        placed = await connections["orders"].fetchval("SELECT count(*) FROM customer_order")
        async with Sampler(folder, state).connected() as sampler:
            sample: Mapping[str, float] = {}

            async def is_counted() -> bool:
                # PostgreSQL's counters are up to a second late.
                nonlocal sample
                sample = (await sampler.sample(at=0, orders=placed, processes=processes)).values
                return bool(sample["rows/orders.customer_order"] == placed > 0)

            await until(is_counted, what="the orders are counted", poll_seconds=0.5)
    assert {name for name in sample if name.endswith("/orders")} == {
        f"{kind}/orders" for kind in ("memory", "processes", "threads", "files", "sockets", "connections")
    }
    assert 20e6 < sample["memory/orders"] < 1e9
    assert sample["disk/kafka"] == 12_288
    assert sample["bytes/orders.outbox_sent"] > 0
    # Those of the service, not only the one that asks.
    assert sample["connections/orders"] > 2
    assert sample["valkey/memory"] > 0


async def _check_that_stock_is_refilled(services: RunningServices) -> None:
    """Check the product that was sold out before the first load, and the faster way of the system of `make run`."""
    database_url, in_stock = _databases(services)["orders"], "SELECT sku FROM product WHERE stock = $1 ORDER BY sku"
    connection = await asyncpg.connect(database_url)
    try:
        refilled = [row["sku"] for row in await connection.fetch(in_stock, AMPLE_STOCK)]
        assert SOLD_OUT in refilled
        await connection.execute("UPDATE product SET stock = reserved WHERE sku = $1", SOLD_OUT)
        await refill_in_database(database_url, skus=[SOLD_OUT], screen=Screen(Console(quiet=True)))
        assert [row["sku"] for row in await connection.fetch(in_stock, AMPLE_STOCK)] == refilled
    finally:
        await connection.close()


async def _import_catalogue(services: RunningServices) -> None:
    database = open_database(services.environment["ORDERS_DATABASE_URL"], service="orders", pool_size=1)
    products = [NewProduct(**product) for product in products_of(read_lines()[:LINES_OF_CATALOGUE])]
    # Ample stock of all others: refilling each takes a request.
    products = [one.model_copy(update={"stock": 0 if one.sku == SOLD_OUT else 10**6}) for one in products]
    async with database.sessions.begin() as session:
        await import_products(session, products)
    await database.close()


def _databases(services: RunningServices) -> dict[str, str]:
    return {service: dsn_of(services.environment[f"{service.upper()}_DATABASE_URL"]) for service in SERVICES}
