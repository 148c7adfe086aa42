"""The summary of a load as a table in the terminal."""

from rich.table import Table

from deploy.demo.latency import Latency
from deploy.load.summary import Summary


def summary_table(summary: Summary) -> Table:
    """Return the table of routes, orders and errors."""
    table = Table("", "count", "p50", "p99", "maximum", box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for route, latency in summary.routes.items():
        table.add_row(route, f"{latency.count:,}", *_shown(latency, "ms"))
    if summary.saga is not None:
        table.add_row("POST to confirmed", f"{summary.saga.count:,}", *_shown(summary.saga, "s"))
    table.add_section()
    table.add_row("orders placed", f"{summary.placed:,}")
    for status, number in sorted(summary.decided.items()):
        table.add_row(f"orders {status}", f"{number:,}")
    table.add_row("orders pending", f"{summary.pending:,}")
    table.add_section()
    table.add_row("errors", f"{summary.errors.total():,}", f"{summary.error_rate:.2%}")
    for name, number in [*summary.errors.most_common(), *summary.expected_errors.most_common()]:
        table.add_row(f"  {name}", f"{number:,}")
    table.add_row(
        "load generator", "", f"{summary.generator_cpu:.0%}", "", f"{summary.max_generator_cpu:.0%} of a core"
    )
    return table


def _shown(latency: Latency, unit: str) -> list[str]:
    return [f"{value:,.2f} {unit}" if unit == "s" else f"{value:,.0f} {unit}" for value in _values(latency)]


def _values(latency: Latency) -> tuple[float, float, float]:
    return latency.p50, latency.p99, latency.maximum
