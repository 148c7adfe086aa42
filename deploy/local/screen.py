"""Everything that the commands print: steps, progress, notes, errors, output of processes, the table of a system."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from deploy.local.credentials import SERVICES
from deploy.local.memory import MEGABYTE, memory_of_system

COLOURS = {"users": "cyan", "orders": "magenta", "notifications": "green", "gateway": "blue"}
NAME_WIDTH = 13
"""Width of the services' names. Those of the PostgreSQL servers are longer, but write few lines."""
WIDTH_WITHOUT_TERMINAL = 140

Advance = Callable[[], None]
"""Counts one more item as done."""


class Screen:
    """Prints for a person. A terminal gets spinners and bars; a pipe or a file gets lines only."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = WIDTH_WITHOUT_TERMINAL
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=self.console, transient=True
        )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Show a spinner for each step inside of this block that is not done yet."""
        if not self.console.is_terminal:
            yield
            return
        with self._progress:
            yield

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Show `doing` while the block runs, and print `done` when it ends without an error."""
        started = monotonic()
        task = self._progress.add_task(doing)
        try:
            yield
        finally:
            self._progress.remove_task(task)
        self.console.print(Text.assemble(("  ✓ ", "green"), f"{done} ", (f"({monotonic() - started:.1f} s)", "dim")))

    @contextmanager
    def progress(self, doing: str, *, total: int) -> Iterator[Advance]:
        """Show how many of `total` items are done: a bar, or without a terminal a line for every tenth of them."""
        if not self.console.is_terminal:
            yield self._line_for_every_tenth(doing, total=total)
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(doing, total=total)
            yield lambda: progress.advance(task)

    def note(self, text: str) -> None:
        """Print something that the user should know."""
        self.console.print(Text.assemble(("  ! ", "yellow"), text))

    def error(self, text: str) -> None:
        """Print something that the user has to correct."""
        self.console.print(Text.assemble(("  ✗ ", "red"), text))

    def output(self, name: str, line: str) -> None:
        """Print a line of a process's output after the name of the process."""
        prefix = Text(f"{name:<{NAME_WIDTH}} │ ", style=COLOURS.get(name, "yellow"))
        self.console.print(prefix + Text.from_ansi(line), soft_wrap=True)

    def table(self, table: Table) -> None:
        """Print a table after an empty line."""
        self.console.print()
        self.console.print(table)

    def _line_for_every_tenth(self, doing: str, *, total: int) -> Advance:
        started, done = monotonic(), 0

        def advance() -> None:
            nonlocal done
            done += 1
            if done * 10 // total > (done - 1) * 10 // total:
                self.console.print(f"  {doing}: {done} of {total} ({monotonic() - started:.1f} s)")

        return advance


def system_table(state: dict[str, Any]) -> Table:
    """Return the table of a running system's processes; `state` is the content of its state file."""
    memory = memory_of_system(state)
    table = Table("process", "address", "pid", "memory", "notes", box=None, header_style="bold", pad_edge=False)
    for name, process in state["processes"].items():
        restarts = f" (restarts: {process['restarts']})" if process["restarts"] else ""
        table.add_row(name + restarts, process["address"], str(process["pid"]), _shown(memory[name]), process["notes"])
    for name, address in state["external"].items():
        table.add_row(name, address, "", "", "not started here: named by the environment")
    table.add_row("supervisor", "", str(state["pid"]), _shown(memory["supervisor"]), f"logs in {state['logs']}")
    services = sum(memory.get(name, 0) for name in SERVICES)
    table.add_section()
    table.add_row("total", "", "", _shown(sum(memory.values())), f"of which the three services: {_shown(services)}")
    return table


def _shown(size: int) -> str:
    return f"{size / MEGABYTE:.0f} MB"
