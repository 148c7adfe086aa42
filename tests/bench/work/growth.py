"""The counts of a lone order on empty and on full tables: they must be equal, and the blocks almost.

The blocks are compared with those on tables that have a tenth of the rows: the indexes of empty tables have a level or
two less.
"""

from collections import Counter
from collections.abc import Mapping

from rich.table import Table

from deploy.local.credentials import SERVICES
from tests.bench.work.lone_orders import OrderWork
from tests.bench.work.statement_log import label_of
from tests.bench.work.tables import blocks_by_service

MAX_BLOCKS_CHANGE = 0.1
"""Share by which a service's blocks may increase from a tenth of the rows to all of them."""
SHOWN_STATEMENTS = 8
FEWER = 10
"""Divisor of the rows: the blocks on full tables are compared with those on tables that have so much fewer."""


def growth_table(empty: OrderWork, tenth: OrderWork, full: OrderWork, *, rows: int) -> Table:
    """Show the counts that differ, the blocks of each service, and the statements whose blocks increase most."""
    columns = ("a lone order", "empty tables", f"{rows // FEWER:,} rows", f"{rows:,} rows", "change", "met")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for name, before, after in _differences(empty, full):
        table.add_row(name, str(before), "", str(after), f"{after - before:+d}", "NO")
    none, few, many = (blocks_by_service(work) for work in (empty, tenth, full))
    for service in SERVICES:
        share = many[service] / few[service] - 1
        met = "yes" if share < MAX_BLOCKS_CHANGE else "NO"
        counts = (none[service], few[service], many[service])
        table.add_row(f"blocks in {service}", *map(str, counts), f"{share:+.1%}", met)
    growth = {name: full.blocks[name] - tenth.blocks[name] for name in full.blocks}
    for name in sorted(growth, key=lambda one: -growth[one])[:SHOWN_STATEMENTS]:
        if growth[name] > 0:
            counts = (empty.blocks[name], tenth.blocks[name], full.blocks[name])
            label = label_of(" ".join(name.split()), width=80)
            table.add_row(f"  {label}", *map(str, counts), f"{growth[name]:+d}", "")
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
