"""What a person sees: steps as they are done, output with its origin, and the table at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

COLOURS = {"users": "cyan", "orders": "magenta", "notifications": "green", "gateway": "blue"}
NAME_WIDTH = 13
WIDTH_WITHOUT_TERMINAL = 140


class Screen:
    """A terminal gets spinners; a pipe or a file gets one line a step."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = WIDTH_WITHOUT_TERMINAL
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=self.console, transient=True
        )

    @contextmanager
    def working(self) -> Iterator[None]:
        """While steps are being done."""
        if not self.console.is_terminal:
            yield
            return
        with self._progress:
            yield

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Show that something is being done, and then, if it was, that it is."""
        started = monotonic()
        task = self._progress.add_task(doing)
        try:
            yield
        finally:
            self._progress.remove_task(task)
        self.console.print(Text.assemble(("  ✓ ", "green"), f"{done} ", (f"({monotonic() - started:.1f} s)", "dim")))

    def note(self, text: str) -> None:
        """Something to know."""
        self.console.print(Text.assemble(("  ! ", "yellow"), text))

    def error(self, text: str) -> None:
        """Something to mend."""
        self.console.print(Text.assemble(("  ✗ ", "red"), text))

    def output(self, name: str, line: str) -> None:
        """A line that a process printed."""
        prefix = Text(f"{name:<{NAME_WIDTH}} │ ", style=COLOURS.get(name, "yellow"))
        self.console.print(prefix + Text.from_ansi(line), soft_wrap=True)

    def table(self, table: Table) -> None:
        """The table of what runs where."""
        self.console.print()
        self.console.print(table)
