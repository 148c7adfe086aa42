"""Orderly compared with its peers: orders of whole systems, and requests of the API process, by their CPU time."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import httpx2
from rich.table import Table

from deploy.demo.accounts import Account
from deploy.local.ports import free_port
from deploy.local.process import Program
from deploy.local.readiness import http_answers
from deploy.local.screen import Screen
from deploy.local.state import CHECKOUT
from deploy.local.supervisor import Supervisor
from shared.connection_urls import dsn_of
from tests.bench.orders_load import Load, prepared_load
from tests.bench.peers.run import Peer, dbos, tutorial
from tests.bench.work.loads import SATURATING_CLIENTS, saturated
from tests.bench.work.measured_system import measured_system
from tests.bench.work.processor_time import processor_ms
from tests.bench.work.tables import cost_of

SECONDS = 12.0
WARM_UP_SECONDS = 4.0
ORDERLY = "Orderly"
GOALS = {"DBOS": "more than 1", "tutorial": "at least 1", "bare POST": "at least 0.4"}
"""Goals for Orderly's orders or requests per second of CPU time, as a multiple of the peer's."""

Measure = Callable[[float], Awaitable[float]]
"""Loads a system for the given seconds; returns the CPU time of an order or a request in ms."""


async def peers_tables(folder: Path, *, rounds: int, screen: Screen) -> list[Table]:
    """Load Orderly and its peers in turns; return the tables of whole orders and of POST alone."""
    async with AsyncExitStack() as stack:
        with screen.step("peers: starting", "peers: started and warmed up"):
            measures = {
                ORDERLY: await stack.enter_async_context(_orderly(folder / "orderly")),
                "tutorial": await stack.enter_async_context(_peer(tutorial, folder / "tutorial")),
                "DBOS": await stack.enter_async_context(_peer(dbos, folder / "dbos")),
            }
        whole = await _in_turns(measures, rounds=rounds, screen=screen)
    async with AsyncExitStack() as stack:
        with screen.step("POST: starting", "POST: started and warmed up"):
            posts = await stack.enter_async_context(_posts(folder / "post"))
        alone = await _in_turns(posts, rounds=rounds, screen=screen)
    return [_table("orders, confirmed and mailed", whole), _table("POST, the API process alone", alone)]


async def _in_turns(measures: Mapping[str, Measure], *, rounds: int, screen: Screen) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(1, rounds + 1):
        # Reverse the order in every second round, so that none always comes first.
        for name in list(measures)[:: -1 if number % 2 == 0 else 1]:
            with screen.step(f"{name}: round {number}", f"{name}: round {number} of {rounds}"):
                found[name].append(await measures[name](SECONDS))
    return found


def _table(title: str, found: Mapping[str, list[float]]) -> Table:
    columns = (title, "CPU time, ms", "per second of CPU time", "Orderly's share", "goal")
    table = Table(*columns, box=None, header_style="bold")
    for name, values in found.items():
        share = median(peer / own for peer, own in zip(values, found[ORDERLY], strict=True))
        compared = ("", "") if name == ORDERLY else (f"{share:.2f}", GOALS[name])
        table.add_row(name, f"{median(values):.2f}", f"{1000 / median(values):,.1f}", *compared)
    return table


@asynccontextmanager
async def _orderly(folder: Path) -> AsyncIterator[Measure]:
    """Run Orderly. The requests go straight to the orders service, since the peers have no gateway either."""
    async with (
        measured_system(folder, checkout=CHECKOUT, counted=False) as system,
        prepared_load(system.running, system.databases) as load,
        _direct(load, system.urls["orders"]) as direct,
    ):

        async def measure(seconds: float) -> float:
            return cost_of((await saturated(system, direct, seconds=seconds)).ms_per_order, "all")

        await measure(WARM_UP_SECONDS)
        yield measure


@asynccontextmanager
async def _peer(start: Callable[[Path], AbstractAsyncContextManager[Peer]], folder: Path) -> AsyncIterator[Measure]:
    async with start(folder) as peer:

        async def measure(seconds: float) -> float:
            orders, _, used = await peer.closed_loop(clients=SATURATING_CLIENTS, seconds=seconds)
            return cost_of(used, "all") / orders

        await measure(WARM_UP_SECONDS)
        yield measure


@asynccontextmanager
async def _posts(folder: Path) -> AsyncIterator[dict[str, Measure]]:
    """Run the orders service without its relay, consumers and jobs, and the bare handler on the same database."""
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(
            measured_system(folder, checkout=CHECKOUT, counted=False, orders_roles="api")
        )
        load = await stack.enter_async_context(prepared_load(system.running, system.databases))
        orders = await stack.enter_async_context(_direct(load, system.urls["orders"]))
        url, pid = await stack.enter_async_context(_bare(dsn_of(system.services.database_url("orders")), folder))
        customers = [replace(account, token=account.user_id) for account in load.customers]
        bare = await stack.enter_async_context(_direct(load, url, customers=customers))
        measures = {
            ORDERLY: _post_measure(orders, pid=system.pids["orders"]),
            "bare POST": _post_measure(bare, pid=pid),
        }
        for measure in measures.values():
            await measure(WARM_UP_SECONDS)
        yield measures


def _post_measure(load: Load, *, pid: int) -> Measure:
    async def measure(seconds: float) -> float:
        before = processor_ms({"api": pid})["api"]
        placed = await load.closed_loop(clients=SATURATING_CLIENTS, seconds=seconds)
        return (processor_ms({"api": pid})["api"] - before) / len(placed)

    return measure


@asynccontextmanager
async def _bare(dsn: str, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Run the bare handler; yield its URL and its process id."""
    port = free_port()
    supervisor = Supervisor(
        logs=folder / "logs", report=lambda _text: None, echo=lambda _name, _line: None, on_change=lambda: None
    )
    factory = "tests.bench.peers.bare_post:app"
    try:
        await supervisor.start(
            Program(
                name="bare",
                command=[sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port)],
                environment={"DATABASE_URL": dsn, "PYTHONPATH": str(CHECKOUT)},
                ready=lambda: http_answers(port, "/health"),
                address=f"http://127.0.0.1:{port}",
            )
        )
        yield f"http://127.0.0.1:{port}", supervisor.children["bare"].process.pid
    finally:
        await supervisor.stop([])


@asynccontextmanager
async def _direct(load: Load, url: str, *, customers: list[Account] | None = None) -> AsyncIterator[Load]:
    """Return the load with its requests sent to `url`."""
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        yield replace(load, http=http, customers=customers or load.customers)
