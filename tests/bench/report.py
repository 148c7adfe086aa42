"""The results as a table."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from tests.bench.measurement import Measurement, Result

COLUMNS = ("measurement", "value", "baseline", "ratio", "goal", "full tables", "met")


def results_table(results: Iterable[Result]) -> Table:
    """Show each measurement beside its baseline and its goal, and its change by full tables."""
    table = Table(*COLUMNS, box=None, header_style="bold", pad_edge=False)
    for result in results:
        one = result.empty
        table.add_row(
            one.name,
            f"{_number(one.value)} {one.unit}",
            "" if one.baseline_value is None else f"{one.baseline}: {_number(one.baseline_value)} {one.unit}",
            "" if one.ratio is None else _number(one.ratio),
            _goal(one),
            "" if result.change is None else f"{result.change:+.1%}",
            {None: Text(), True: Text("yes", "green"), False: Text("NO", "bold red")}[result.is_met],
        )
    return table


def _goal(one: Measurement) -> str:
    bound = "at least" if one.higher_is_better else "at most"
    if one.ratio_goal is not None:
        return f"{bound} {one.ratio_goal:g} times"
    return "" if one.max_value is None else f"{bound} {one.max_value:g} {one.unit}"


def _number(value: float) -> str:
    """Format a value with about three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
