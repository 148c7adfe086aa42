"""Output of the operators' commands: tables for people, one JSON document for programs, a progress bar."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from shared.messaging.dead_letters.queries import DeadLetter, DeadLetterDetail
from shared.messaging.outbox.partitions import TopicPartitions
from shared.messaging.outbox.resend import OutboxStatus
from shared.operations.dead_letters import KeyOutcome
from shared.operations.positions import KeyPosition, PositionAction
from shared.operations.recovery import Recovery
from shared.operations.runs import Operation

WIDTH_WITHOUT_TERMINAL = 200
"""Columns of the output without a terminal: wide enough to cut nothing off."""

_KEY_HEADINGS = ("consumer", "key", "dead letters")

SetDone = Callable[[int], None]
"""Moves the bar to this many done."""


def print_json(document: Any) -> None:
    """Print one JSON document, and nothing else. Views are printed as the admin routes return them."""
    sys.stdout.buffer.write(orjson.dumps(document, default=_plain, option=orjson.OPT_INDENT_2) + b"\n")


def print_line(text: str) -> None:
    """Print a line of text."""
    _console().print(Text(_printable(text)))


@contextmanager
def progress(label: str, *, total: int | None) -> Iterator[SetDone]:
    """Draw a progress bar on stderr, if that is a terminal; yield the function that sets how many are done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def counting_progress(label: str, *, total: int | None) -> Iterator[Callable[[], None]]:
    """Draw the same progress bar; yield a function to call once for each item that is done."""
    done = 0
    with progress(label, total=total) as set_done:

        def count_one() -> None:
            nonlocal done
            done += 1
            set_done(done)

        yield count_one


def print_dead_letters(dead_letters: Sequence[DeadLetter]) -> None:
    """Print a line for each dead letter."""
    rows = [
        (
            str(each.id),
            each.consumer,
            each.key,
            each.type or "?",
            str(each.sequence or "?"),
            each.reason,
            _time_text(each.dead_lettered_at),
            each.error or "",
        )
        for each in dead_letters
    ]
    print_table(("id", "consumer", "key", "type", "sequence", "reason", "since", "error"), rows)


def print_detail(detail: DeadLetterDetail) -> None:
    """Print everything about one dead letter."""
    facts = {name: _text(value) for name, value in asdict(detail.dead_letter).items()}
    print_table(("", "value"), [*facts.items(), *detail.headers.items()])
    print_line(detail.payload.decode("utf-8", "backslashreplace"))
    if detail.actions:
        names = ("acted_at", "actor", "action", "outcome", "detail")
        print_table(names, [[_text(action[name]) for name in names] for action in detail.actions])


def print_outcomes(outcomes: Sequence[KeyOutcome], *, is_dry_run: bool) -> None:
    """Print a line for each key."""
    if is_dry_run:
        rows = [
            [*_key_cells(o), str(o.replayable.first.id), o.replayable.first.type or "?", o.replayable.first.reason]
            for o in outcomes
        ]
        print_table((*_KEY_HEADINGS, "first", "its type", "its reason"), rows)
        return
    rows = [
        [
            *_key_cells(o),
            str(o.replay.applied),
            str(o.replay.stopped_by.id) if o.replay.stopped_by else "",
            o.replay.error or "",
        ]
        for o in outcomes
    ]
    print_table((*_KEY_HEADINGS, "applied", "stopped by", "error"), rows)


def _key_cells(outcome: KeyOutcome) -> list[str]:
    key = outcome.replayable
    return [key.consumer_key.consumer, key.consumer_key.key, str(key.count)]


def print_position(position: KeyPosition) -> None:
    """Print a position, and a line for each reset of it."""
    headings = ("consumer", "key", "sequence", "dead letters")
    print_table(headings, [[position.consumer, position.key, str(position.sequence), str(position.dead_letters)]])
    if position.actions:
        print_table(PositionAction._fields, position.actions)


def print_status(status: OutboxStatus) -> None:
    """Print the state of the outbox, and a line for the leader of each shard."""
    oldest = f"{status.oldest_age.total_seconds():.1f} s" if status.oldest_age is not None else "-"
    print_table(
        ("waiting", "oldest", "sent and kept (estimate)"), [[str(status.waiting), oldest, str(status.sent_kept)]]
    )
    rows = [
        [str(lease.shard), lease.owner if lease.is_held else "none", str(lease.epoch), _time_text(lease.expires_at)]
        for lease in status.leases
    ]
    print_table(("shard", "leader", "epoch", "lease expires at"), rows)


def print_topics(topics: Sequence[TopicPartitions]) -> None:
    """Print a line for each topic."""
    rows = [
        [each.topic, *("-" if number is None else str(number) for number in (each.existing, each.pinned))]
        for each in topics
    ]
    print_table(("topic", "partitions in Kafka", "partitions of its keys"), rows)


def print_recovery(recovery: Recovery) -> None:
    """Print the generations of the streams, and how the service continues."""
    print_table(
        ("generation", "timeline", "raised at", "actor", "note"),
        [(each.generation, each.timeline, each.raised_at, each.actor, each.note) for each in recovery.generations],
    )
    print_line(f"{recovery.unsent_events} events wait in the outbox, and are published now or again")
    for consumer, offsets in recovery.next_offsets.items():
        begins = ", ".join(f"{partition}: {offset}" for partition, offset in sorted(offsets.items()))
        print_line(f"{consumer} begins after what the database has seen: {begins or 'at the beginning of the topic'}")


def describe_operation(operation: Operation) -> str:
    """Describe an operation and its progress in one line."""
    of_total = "" if operation.total is None else f" of {operation.total}"
    return f"{operation.kind} {operation.id}: {operation.status}, {operation.done}{of_total} sent"


def print_table(headings: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table of texts, times and other values."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_printable(_text(cell))) for cell in row))
    _console().print(table)


def _printable(text: str) -> str:
    """Escape control characters: an event's text must not control the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_WITHOUT_TERMINAL)


def _time_text(time: datetime) -> str:
    return time.isoformat(sep=" ", timespec="seconds")


def _text(value: object) -> str:
    return _time_text(value) if isinstance(value, datetime) else "" if value is None else str(value)


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
