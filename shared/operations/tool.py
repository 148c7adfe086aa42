"""The context of one service's operator commands: its settings, its database and its handlers."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import getpass
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from shared.command import run_command
from shared.errors import Problem
from shared.logging import configure_logging
from shared.settings import StorageSettings

if TYPE_CHECKING:
    from shared.database import Sessions
    from shared.messaging.consumer.subscription import Subscription
    from shared.operations.actions import ActionSource
    from shared.operations.dead_letters import DeadLetterOperations
    from shared.operations.positions import PositionOperations
    from shared.operations.sending import Sending

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done; change nothing.")]
Actor = Annotated[str | None, typer.Option(help="Your name, for the record. Default: your user and host name.")]
Since = Annotated[str, typer.Option(help="Events sent at or after this time, such as 2026-11-23T10:00:00Z.")]


class TimeInvalid(Problem):
    """The time must be ISO 8601 with a time zone, such as 2026-11-23T10:00:00Z."""

    status = 422
    code = "time_invalid"


@dataclass(frozen=True)
class Tool:
    """Runs one service's operator commands. `package` is the service's package, such as `services.users`."""

    package: str
    load_settings: Callable[[], StorageSettings]

    @property
    def service(self) -> str:
        """The service's name."""
        return self.package.rpartition(".")[2]

    def run(self, work: "Callable[[Sessions], Awaitable[bool]]") -> None:
        """Run `work` on the service's database.

        The exit status is 1 if `work` returns False or a server does not answer, 2 for a client error, 130 after
        Ctrl-C and 143 after SIGTERM.
        """
        from shared.operations.interrupts import Interrupted, cancel_on_signal

        settings = self.load_settings()
        # Log to stderr, because a program may read stdout. The database records who did what.
        level = "warning" if settings.log_level == "info" else settings.log_level
        configure_logging(self.service, level=level, format=settings.log_format, stream=sys.stderr)
        try:
            is_complete = run_command(cancel_on_signal(self._work(settings, work)))
        except Interrupted as interrupted:
            raise typer.Exit(interrupted.exit_status) from interrupted
        except Problem as problem:
            typer.echo(problem.detail or problem.title, err=True)
            raise typer.Exit(2) from problem
        if not is_complete:
            raise typer.Exit(1)

    def dead_letters(self, sessions: "Sessions") -> "DeadLetterOperations":
        """Return the operations on dead letters, with the service's handlers."""
        from shared.operations.dead_letters import DeadLetterOperations

        return DeadLetterOperations(sessions, self.subscriptions())

    def positions(self, sessions: "Sessions") -> "PositionOperations":
        """Return the operations on positions."""
        from shared.operations.positions import PositionOperations

        return PositionOperations(sessions, self.subscriptions())

    def sending(self) -> "Sending":
        """Return the resends and republications; a service may have nothing to republish."""
        from shared.operations.sending import Sending

        jobs = f"{self.package}.jobs"
        return Sending(getattr(import_module(jobs), "REPUBLISHED", ()) if find_spec(jobs) else ())

    def action_sources(self) -> "Sequence[ActionSource]":
        """Return the tables that record who did what: those that every service has, and the service's own."""
        from shared.operations.actions import SHARED_SOURCES

        records = f"{self.package}.order_records"
        own = getattr(import_module(records), "ACTION_SOURCES", ()) if find_spec(records) else ()
        return (*SHARED_SOURCES, *own)

    def subscriptions(self) -> "dict[str, Subscription]":
        """Return the service's handlers, by consumer."""
        from shared.messaging.consumer.subscription import by_consumer

        return by_consumer(self.service, import_module(f"{self.package}.subscribers").SUBSCRIPTIONS)

    async def _work(self, settings: StorageSettings, work: "Callable[[Sessions], Awaitable[bool]]") -> bool:
        from shared.database import open_database

        database = open_database(settings.database_url, service=self.service, pool_size=2)
        try:
            return await work(database.sessions)
        finally:
            await database.close()


def actor_of(given: str | None) -> str:
    """Return the actor to record: the given one, or the user and host of this process."""
    if given:
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def time_of(text: str) -> datetime:
    """Parse a time. Raises: TimeInvalid."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise TimeInvalid from None
    if time.tzinfo is None:
        raise TimeInvalid
    return time.astimezone(UTC)
