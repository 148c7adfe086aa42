"""The counts of a lone order with empty and with full tables: none may differ, and the blocks hardly."""

from collections import Counter
from collections.abc import Mapping

from rich.table import Table

from deploy.local.credentials import SERVICES
from tests.bench.work.lone_orders import OrderWork
from tests.bench.work.statement_log import label_of
from tests.bench.work.tables import blocks_by_service

MAX_BLOCKS_CHANGE = 0.1


def growth_table(empty: OrderWork, full: OrderWork, *, rows: int) -> Table:
    """Show each count that differs, and the blocks of each service."""
    table = Table(
        "a lone order", "empty tables", f"{rows:,} rows", "change", "met", box=None, header_style="bold", pad_edge=False
    )
    for name, before, after in _differences(empty, full):
        table.add_row(name, str(before), str(after), f"{after - before:+d}", "NO")
    few, many = blocks_by_service(empty), blocks_by_service(full)
    for service in SERVICES:
        share = many[service] / few[service] - 1
        met = "yes" if share < MAX_BLOCKS_CHANGE else "NO"
        table.add_row(f"blocks in {service}", str(few[service]), str(many[service]), f"{share:+.1%}", met)
    for name in sorted(set(empty.blocks) | set(full.blocks), key=lambda one: empty.blocks[one] - full.blocks[one])[:8]:
        if (change := full.blocks[name] - empty.blocks[name]) > 0:
            shown = label_of(" ".join(name.split()), width=80)
            table.add_row(f"  {shown}", str(empty.blocks[name]), str(full.blocks[name]), f"{change:+d}", "")
    return table


def _differences(empty: OrderWork, full: OrderWork) -> list[tuple[str, int, int]]:
    pairs = {
        "commits in": (empty.commits, full.commits),
        "records in": (empty.records, full.records),
        **{f"{service}:": (empty.statements[service], full.statements[service]) for service in SERVICES},
    }
    return [
        (f"{what} {label_of(name)}", before[name], after[name])
        for what, (before, after) in pairs.items()
        for name in _all_names(before, after)
        if before[name] != after[name]
    ]


def _all_names(*counters: Counter[str]) -> list[str]:
    names: Mapping[str, None] = {name: None for counter in counters for name in counter}
    return list(names)
