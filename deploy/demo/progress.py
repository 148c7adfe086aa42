"""How far the demo is: a bar on a terminal, a line at every tenth otherwise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[], None]


@contextmanager
def progress_of(console: Console, doing: str, *, total: int) -> Iterator[Advance]:
    """Call what this gives once for each of `total` things that are done."""
    if not console.is_terminal:
        yield _lines(console, doing, total=total)
        return
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)


def _lines(console: Console, doing: str, *, total: int) -> Advance:
    started, done = monotonic(), 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            console.print(f"  {doing}: {done} of {total} ({monotonic() - started:.1f} s)")

    return advance
