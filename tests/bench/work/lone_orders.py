"""Orders on an idle system, one at a time, and what each of them made the system do."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from deploy.local.credentials import SERVICES
from shared.events.topics import TOPICS
from tests.bench.fixtures import OUTBOX_IS_EMPTY
from tests.bench.orders_load import Load, PlacedOrder
from tests.bench.work.kafka_work import RecordCounter, RequestLog
from tests.bench.work.measured_system import MeasuredSystem
from tests.bench.work.other_work import blocks_by_statement, http_requests, prepare_block_counter, valkey_commands
from tests.bench.work.statement_log import StatementLog
from tests.bench.work.transactions import (
    Shape,
    Transaction,
    counts_of,
    lease_renewals,
    least,
    least_of,
    transactions_of,
)
from tests.bench.work.wal import Wal
from tests.harness.waiting import until

ITEMS = 2
"""Items of each lone order: statements with a row for each item show as what they are."""
WARM_UP_ORDERS = 3
"""The first orders fill caches: connections, prepared statements, products."""
TAIL_SECONDS = 2.0
"""Wait after the mail for the work that follows it: events of ignored types are fetched within half a second, and their
offsets are committed a second later. Raised, it adds polls."""
SETTLE_TIMEOUT_SECONDS = 60.0

_IS_CONFIRMED = "SELECT EXISTS (SELECT FROM order_timeline WHERE status = 'confirmed' AND order_id = $1::uuid)"
_IS_MAILED = """
    SELECT EXISTS (
        SELECT FROM notification n JOIN delivery d ON d.notification_id = n.id
        WHERE n.event_type = 'order.confirmed' AND n.data->>'order_id' = $1 AND d.channel = 'email'
          AND d.sent_at IS NOT NULL
    )
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The counts of everything but statements and transactions."""

    commits: Counter[str]
    wal_bytes: Counter[str]
    blocks: Counter[str]
    records: Counter[str]
    kafka_requests: Counter[str]
    http: Counter[str]
    valkey: Counter[str]


@dataclass(frozen=True, kw_only=True)
class Window(Counts):
    """The counts between two readings of all counters."""

    transactions: list[Transaction]


@dataclass(frozen=True, kw_only=True)
class OrderWork(Counts):
    """The cost of a lone order: each count is the smallest of several orders."""

    statements: dict[str, Counter[str]]
    """Statements of the order's own transactions by service."""
    polls: dict[str, Counter[str]]
    """Statements of transactions that an idle system executes as well, by service."""
    transactions: Counter[str]


@dataclass(frozen=True, kw_only=True)
class IdleWork:
    """The work of an idle system in `seconds`."""

    statements: dict[str, Counter[str]]
    commits: Counter[str]
    kafka_requests: Counter[str]
    valkey: Counter[str]
    seconds: float


class Counters:
    """All counters of one system, read together."""

    def __init__(self, system: MeasuredSystem, records: RecordCounter, http: httpx2.AsyncClient) -> None:
        self._system = system
        self._records = records
        self._http = http
        self._statements = {service: StatementLog(log, [service]) for service, log in system.statement_logs.items()}
        self._requests = RequestLog(system.request_log) if system.request_log else None
        self._wals = [Wal(superuser) for superuser in system.databases.values()]
        self._sums: dict[str, Counter[str]] = {}

    async def start(self) -> None:
        """Begin the first window."""
        for superuser in self._system.databases.values():
            await prepare_block_counter(superuser)
        for wal in self._wals:
            await wal.start()
        await self.read()

    async def read(self) -> Window:
        """Return what happened since the last call."""
        system = self._system
        written = [await wal.read() for wal in self._wals]
        statements = [await log.read(system.databases[service]) for service, log in self._statements.items()]
        blocks = [await blocks_by_statement(superuser, SERVICES) for superuser in system.databases.values()]
        return Window(
            transactions=[one for logged in statements for one in transactions_of(logged)],
            commits=sum((one.commits for one in written), Counter()),
            wal_bytes=sum((one.bytes for one in written), Counter()),
            blocks=self._added("blocks", sum(blocks, Counter())),
            records=await self._records.read(),
            kafka_requests=self._requests.read() if self._requests else Counter(),
            http=self._added("http", await http_requests(self._http, system.urls)),
            valkey=self._added("valkey", await valkey_commands(system.services.settings.valkey_url)),
        )

    def _added(self, name: str, total: Counter[str]) -> Counter[str]:
        before, self._sums[name] = self._sums.get(name, Counter()), total
        return total - before


async def count_work(
    system: MeasuredSystem, load: Load, *, orders: int, idle_seconds: float
) -> tuple[OrderWork, IdleWork]:
    """Count the work of an idle system, and of lone orders on it."""
    topics = [topic.name for topic in TOPICS]
    services = system.services
    async with (
        httpx2.AsyncClient() as http,
        RecordCounter(services.kafka_bootstrap_servers, services.topic_prefix, topics) as records,
    ):
        counters = Counters(system, records, http)
        for _ in range(WARM_UP_ORDERS):
            await place_and_settle(system, load)
        # Keep the last work of these orders out of the idle window.
        await asyncio.sleep(TAIL_SECONDS)
        await counters.start()
        await asyncio.sleep(idle_seconds)
        idle = await counters.read()
        shapes = {one.shape for one in idle.transactions}
        windows = []
        for _ in range(orders):
            await place_and_settle(system, load)
            windows.append(await counters.read())
    return _order_work(windows, shapes), _idle_work(idle, idle_seconds)


async def place_and_settle(system: MeasuredSystem, load: Load, *, tail_seconds: float = TAIL_SECONDS) -> PlacedOrder:
    """Place an order, and wait until it is confirmed and mailed, and for what follows on that."""
    placed = await load.place(load.customers[0], dict.fromkeys(load.skus[:ITEMS], 1))
    databases = system.databases

    async def has_settled() -> bool:
        return (
            await databases["orders"].fetchval(_IS_CONFIRMED, placed.id)
            and await databases["notifications"].fetchval(_IS_MAILED, placed.id)
            and all([await one.fetchval(OUTBOX_IS_EMPTY) for one in databases.values()])
        )

    await until(has_settled, seconds=SETTLE_TIMEOUT_SECONDS, what="the order is confirmed and mailed")
    await asyncio.sleep(tail_seconds)
    return placed


def _order_work(windows: Sequence[Window], idle_shapes: set[Shape]) -> OrderWork:
    counts = least_of(
        [counts_of(window.transactions, idle_shapes=idle_shapes) for window in windows], services=SERVICES
    )
    return OrderWork(
        statements=counts.own,
        polls=counts.polls,
        transactions=counts.transactions,
        commits=least([one.commits - lease_renewals(one.transactions) for one in windows]),
        wal_bytes=least([one.wal_bytes for one in windows]),
        blocks=least([one.blocks for one in windows]),
        records=least([one.records for one in windows]),
        kafka_requests=least([one.kafka_requests for one in windows]),
        http=least([one.http for one in windows]),
        valkey=least([one.valkey for one in windows]),
    )


def _idle_work(window: Window, seconds: float) -> IdleWork:
    statements: dict[str, Counter[str]] = {service: Counter() for service in SERVICES}
    for one in window.transactions:
        statements[one.service].update(one.texts)
    return IdleWork(
        statements=statements,
        commits=window.commits,
        kafka_requests=window.kafka_requests,
        valkey=window.valkey,
        seconds=seconds,
    )
