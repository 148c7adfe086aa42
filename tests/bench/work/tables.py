"""The measured work as tables."""

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.table import Table

from deploy.local.credentials import SERVICES
from deploy.local.postgres import server_of
from tests.bench.work.loads import Latencies, LoadWork
from tests.bench.work.lone_orders import IdleWork, OrderWork
from tests.bench.work.processor_time import CLIENT
from tests.bench.work.statement_log import label_of

SERVERS = tuple(map(server_of, SERVICES))
PROCESSES = (*SERVICES, "PostgreSQL", "kafka", "valkey", "gateway", "mail")
"""The rows of the tables. The three PostgreSQL servers share a row."""


def summary_table(order: OrderWork, idle: IdleWork) -> Table:
    """Show what a lone order and an idle second cost each service."""
    table = _table("a lone order, an idle second", *SERVICES, "all")

    def add(name: str, values: Mapping[str, float]) -> None:
        numbers = [values[service] for service in SERVICES]
        table.add_row(name, *(f"{value:,.4g}" for value in [*numbers, sum(numbers)]))

    add("statements of the order's own transactions", {name: one.total() for name, one in order.statements.items()})
    add("statements of polls, until 2 s after the mail", {name: one.total() for name, one in order.polls.items()})
    add("transactions of its own", order.transactions)
    add("commits that write", order.commits)
    add("bytes of WAL", order.wal_bytes)
    add("blocks hit or read", blocks_by_service(order))
    add("requests to Kafka", _by_prefix(order.kafka_requests, "orderly-"))
    add("HTTP requests", _by_prefix(order.http, ""))
    add("idle: statements per second", {name: one.total() / idle.seconds for name, one in idle.statements.items()})
    add("idle: commits that write, per second", _per_second(idle.commits, idle.seconds))
    add("idle: requests to Kafka per second", _per_second(_by_prefix(idle.kafka_requests, "orderly-"), idle.seconds))
    return table


def other_table(order: OrderWork, idle: IdleWork) -> Table:
    """Show the records by topic, Valkey's commands and the requests by client and API."""
    table = _table("a lone order", "number")
    for topic, number in sorted(order.records.items()):
        table.add_row(f"records in {topic}", str(number))
    for what, counted in (("Kafka", order.kafka_requests), ("Valkey", order.valkey), ("HTTP", order.http)):
        for name, number in counted.most_common():
            table.add_row(f"{what}: {name}", str(number))
    for name, number in idle.valkey.most_common():
        table.add_row(f"idle Valkey: {name}, per second", f"{number / idle.seconds:.2f}")
    return table


def statements_table(statements: Mapping[str, Counter[str]], *, title: str) -> Table:
    """Show the statements by service and text, the most frequent ones first."""
    table = Table("service", "number", title, box=None, header_style="bold", pad_edge=False)
    for service, texts in statements.items():
        for text, number in texts.most_common():
            table.add_row(service, str(number), label_of(text))
        table.add_row(service, str(texts.total()), "in all", end_section=True)
    return table


def loads_table(loads: Mapping[str, LoadWork], idle: Mapping[str, float]) -> Table:
    """Show the CPU time per order and process, and that of an idle second."""
    table = _table("CPU time", *(f"{name}, ms per order" for name in loads), "idle, ms per second")
    for process in (*PROCESSES, "all", CLIENT):
        values = [cost_of(load.ms_per_order, process) for load in loads.values()] + [cost_of(idle, process)]
        table.add_row(process, *(f"{value:.2f}" for value in values))
    table.add_row("orders/s to the mail", *(f"{load.orders_per_second:.1f}" for load in loads.values()), "")
    return table


def memory_table(before: Mapping[str, float], after: Mapping[str, float]) -> Table:
    """Show the memory after all loads, and its growth since the warm-up."""
    table = _table("memory", "MB after the loads", "growth")
    for process in (*PROCESSES, "all"):
        end, start = cost_of(after, process), cost_of(before, process)
        table.add_row(process, f"{end:.0f}", f"{end - start:+.0f}")
    return table


def latency_table(latencies: Latencies) -> Table:
    """Show the medians of lone orders."""
    table = _table("lone orders, p50", "ms")
    for name in ("answered", "confirmed", "mailed"):
        table.add_row(f"POST to {name}", f"{getattr(latencies, name):.1f}")
    return table


def cost_of(costs: Mapping[str, float], process: str) -> float:
    """Return the cost of a process, that of the PostgreSQL servers, or that of all without the client's."""
    if process == "all":
        return sum(value for name, value in costs.items() if name != CLIENT)
    return sum(costs[server] for server in SERVERS) if process == "PostgreSQL" else costs[process]


def blocks_by_service(order: OrderWork) -> Counter[str]:
    """Return the blocks of all statements by service."""
    return _summed((name.partition(": ")[0], number) for name, number in order.blocks.items())


def _by_prefix(counted: Counter[str], prefix: str) -> Counter[str]:
    return _summed((name.removeprefix(prefix).partition(": ")[0], number) for name, number in counted.items())


def _per_second(counted: Counter[str], seconds: float) -> dict[str, float]:
    return {service: counted[service] / seconds for service in SERVICES}


def _summed(items: Iterable[tuple[str, int]]) -> Counter[str]:
    summed = Counter[str]()
    for name, number in items:
        summed[name] += number
    return summed


def _table(*columns: str) -> Table:
    table = Table(columns[0], box=None, header_style="bold", pad_edge=False)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table
