"""What the benchmarks found, as tables: for the terminal, and in Markdown for the documents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.table import Table
from rich.text import Text

from tests.bench.figures import TOLERATED_CHANGE, Change, Figure

BEGIN = "<!-- figures: written by `make bench`, from here -->"
END = "<!-- figures: to here -->"

FIGURE_COLUMNS = ("what", "reached", "against", "ratio", "goal", "met")
CHANGE_COLUMNS = ("what", "before", "after", "change", "by round", "goal", "met")
MARKS = {True: "yes", False: "NO", None: ""}
STYLES = {"yes": "green", "NO": "bold red"}

Rows: TypeAlias = Sequence[Sequence[str]]


class MarkersMissing(Exception):
    """The document has one marker without the other, or the end before the beginning."""


def figures_table(figures: Sequence[Figure]) -> Table:
    """A line for each figure."""
    return _table(FIGURE_COLUMNS, [_figure_row(figure) for figure in figures])


def changes_table(changes: Sequence[Change], *, rows: int) -> Table:
    """A line for each figure that was measured both ways."""
    table = _table(CHANGE_COLUMNS, [_change_row(change) for change in changes])
    table.title, table.title_justify = f"with {rows:,} rows in every table", "left"
    return table


def as_markdown(
    figures: Sequence[Figure], changes: Sequence[Change], *, rows: int, machine: Mapping[str, str], command: str
) -> str:
    """Both tables below the machine and the command; the second one only if there are changes."""
    parts = [
        f"Measured with `{command}` on:",
        "\n".join(f"- {name}: {what}" for name, what in machine.items()),
        _markdown_table(FIGURE_COLUMNS, [_figure_row(figure) for figure in figures]),
    ]
    if changes:
        parts += [
            f"With {rows:,} rows in every table:",
            _markdown_table(CHANGE_COLUMNS, [_change_row(change) for change in changes]),
        ]
    return "\n\n".join(parts)


def write_between_markers(document: Path, markdown: str) -> None:
    """Replace what stands between the markers, or add them at the end. Raises: MarkersMissing."""
    text = document.read_text() if document.exists() else "# Benchmarks\n"
    block = f"{BEGIN}\n\n{markdown}\n\n{END}"
    if BEGIN not in text and END not in text:
        document.write_text(f"{text.rstrip()}\n\n{block}\n")
        return
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkersMissing(document)
    document.write_text(f"{before}{block}{after}")


def _figure_row(figure: Figure) -> tuple[str, ...]:
    against = ""
    if figure.baseline_value is not None:
        against = f"{figure.baseline}: {_quantity(figure.baseline_value, figure.unit)}"
    return (
        f"{figure.bench}: {figure.what}",
        _quantity(figure.value, figure.unit),
        against,
        "" if figure.ratio is None else f"{_number(figure.ratio)}",
        _goal(figure),
        MARKS[figure.is_met],
    )


def _goal(figure: Figure) -> str:
    bound = "at least" if figure.better == "more" else "at most"
    goals = []
    if figure.goal is not None:
        goals.append(f"{figure.goal:g} times" if figure.ratio is not None else f"{figure.goal:g} {figure.unit}")
    if figure.limit is not None:
        goals.append(f"{figure.limit:g} {figure.unit}")
    return f"{bound} {' and '.join(goals)}" if goals else ""


def _change_row(change: Change) -> tuple[str, ...]:
    unit, values = change.before.unit, (change.before.value, change.after.value)
    ratios = [f" ({_number(ratio)})" for ratio in change.ratios] if change.ratios else ["", ""]
    return (
        f"{change.before.bench}: {change.before.what}",
        *(f"{_quantity(value, unit)}{ratio}" for value, ratio in zip(values, ratios, strict=True)),
        f"{change.percent:+.1f} %",
        "{:+.0f} to {:+.0f} %".format(*change.extremes),
        f"no worse by more than {TOLERATED_CHANGE:.0%}".replace("%", " %"),
        MARKS[change.is_met],
    )


def _quantity(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    """With three digits at least where they say something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _table(columns: Sequence[str], rows: Rows) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in {"reached", "ratio", "before", "after", "change", "by round"} else "left",
        )
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table


def _markdown_table(columns: Sequence[str], rows: Rows) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
