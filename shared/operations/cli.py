"""The operators' part of a service's command line: parked, outbox, republish."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import asyncio
import getpass
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shared.errors import Refusal
from shared.logging import configure_logging
from shared.settings import StorageSettings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from shared.database import Sessions
    from shared.messaging.outbox_resend import ResendPlan
    from shared.operations.parked import ParkedOperations
    from shared.operations.runs import Operation
    from shared.operations.sending import Sending

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Actor = Annotated[str | None, typer.Option(help="Who does this, for the record. Default: you, at this machine.")]
Since = Annotated[str, typer.Option(help="A time with a zone, such as 2026-11-23T10:00:00Z.")]


class TimeInvalid(Refusal):
    """A time looks like 2026-11-23T10:00:00Z, with its zone."""

    status = 422
    code = "time_invalid"


@dataclass(frozen=True)
class Tool:
    """One service's tool: where its data are, and what it does with its events."""

    package: str
    load_settings: Callable[[], StorageSettings]

    @property
    def service(self) -> str:
        """Its name."""
        return self.package.rpartition(".")[2]

    def run(self, work: "Callable[[Sessions], Awaitable[bool]]") -> None:
        """Work on the service's database.

        The exit status is 1 when `work` says that something stopped, 2 for a refusal, 130 after Ctrl-C and 143 after
        SIGTERM.
        """
        from shared.faults import is_passing
        from shared.operations.interrupts import Interrupted, cancel_on_signal

        settings = self.load_settings()
        # Beside the output, which may be read by a program; everybody's acts are on record in the database.
        level = "warning" if settings.log_level == "info" else settings.log_level
        configure_logging(self.service, level=level, format=settings.log_format, stream=sys.stderr)
        try:
            is_whole = asyncio.run(cancel_on_signal(self._work(settings, work)))
        except Interrupted as interrupted:
            raise typer.Exit(interrupted.exit_status) from interrupted
        except Refusal as refusal:
            typer.echo(refusal.detail or refusal.title, err=True)
            raise typer.Exit(2) from refusal
        except Exception as fault:
            if not is_passing(fault):
                raise
            typer.echo(f"The database does not answer: {str(fault).partition(chr(10))[0]}", err=True)
            raise typer.Exit(1) from fault
        if not is_whole:
            raise typer.Exit(1)

    def parked(self, sessions: "Sessions") -> "ParkedOperations":
        """With the service's own handlers."""
        from shared.messaging.subscription import by_consumer
        from shared.operations.parked import ParkedOperations

        subscriptions = import_module(f"{self.package}.subscribers").SUBSCRIPTIONS
        return ParkedOperations(sessions, by_consumer(self.service, subscriptions))

    def sending(self) -> "Sending":
        """With the states that the service can send; not every service has some."""
        from shared.operations.sending import Sending

        return Sending(getattr(import_module(f"{self.package}.jobs"), "REPUBLISHED", ()))

    async def _work(self, settings: StorageSettings, work: "Callable[[Sessions], Awaitable[bool]]") -> bool:
        from shared.database import open_database

        database = open_database(settings.database_url, service=self.service, pool_size=2)
        try:
            return await work(database.sessions)
        finally:
            await database.close()


def add_operations(cli: typer.Typer, tool: Tool) -> None:
    """Add the operators' commands to a service's own."""
    from shared.operations.parked_cli import parked_cli

    cli.add_typer(parked_cli(tool), name="parked")
    cli.add_typer(_outbox_cli(tool), name="outbox")

    @cli.command()
    def republish(
        *,
        type_: Annotated[list[str] | None, typer.Option("--type", help="Repeat it for several. Default: all.")] = None,
        since: Annotated[str | None, typer.Option(help="Only what has changed since, where that time is kept.")] = None,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Send the present state of what this service owns again, while work goes on."""

        async def work(sessions: "Sessions") -> bool:
            sending = tool.sending()
            changed_since = time_of(since) if since else None

            async def begin(session: "AsyncSession") -> "Operation":
                return await sending.begin_republication(
                    session, types=type_ or (), since=changed_since, actor=actor_of(actor)
                )

            return await _run_operation(sessions, sending, begin, as_json=as_json)

        tool.run(work)


def actor_of(given: str | None) -> str:
    """Who is on record."""
    if given:
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def time_of(text: str) -> datetime:
    """Raises: TimeInvalid."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise TimeInvalid from None
    if time.tzinfo is None:
        raise TimeInvalid
    return time.astimezone(UTC)


def _outbox_cli(tool: Tool) -> typer.Typer:
    cli = typer.Typer(help="What waits to be sent, and what was sent.", no_args_is_help=True)

    @cli.command()
    def status(as_json: AsJson = False) -> None:
        """Show what waits, how long, who sends, and how much can be sent again."""

        async def work(sessions: "Sessions") -> bool:
            from shared.messaging.outbox_resend import outbox_status
            from shared.operations.output import print_json, print_status, status_document

            async with sessions() as session:
                found = await outbox_status(session)
            if as_json:
                print_json(status_document(found))
            else:
                print_status(found)
            return True

        tool.run(work)

    _add_resend(cli, tool)
    return cli


def _add_resend(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def resend(
        *,
        since: Since,
        topic: Annotated[str | None, typer.Option(help="Of this topic only.")] = None,
        key: Annotated[str | None, typer.Option(help="Of this key only.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")] = None,
        dry_run: DryRun = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Send again what was sent since then, with the same ids: for a broker that has lost data."""

        async def work(sessions: "Sessions") -> bool:
            from shared.messaging.outbox_resend import plan_resend
            from shared.operations.output import print_json, print_line
            from shared.operations.sending import begin_resend

            async def plan(session: "AsyncSession") -> "ResendPlan":
                return await plan_resend(session, since=time_of(since), topic=topic, key=key, limit=limit)

            async def begin(session: "AsyncSession") -> "Operation":
                return await begin_resend(session, await plan(session), actor=actor_of(actor))

            if not dry_run:
                return await _run_operation(sessions, tool.sending(), begin, as_json=as_json)
            async with sessions() as session:
                planned = await plan(session)
            if as_json:
                print_json({"dry_run": True, "events": planned.events})
            else:
                print_line(f"{planned.events} events would be sent again")
            return True

        tool.run(work)


async def _run_operation(
    sessions: "Sessions", sending: "Sending", begin: "Callable[[AsyncSession], Awaitable[Operation]]", *, as_json: bool
) -> bool:
    """Begin an operation and run it to its end in this process. An interrupt stops it, from the moment it exists."""
    from shared.operations.interrupts import run_to_completion
    from shared.operations.output import describe_operation, operation_document, print_json, print_line, progress

    operation: Operation | None = None
    try:
        async with sessions.begin() as session:
            operation = await begin(session)
        with progress(operation.kind, total=operation.total) as move_to:
            ended = await sending.run(sessions, operation.id, on_moved=lambda moved: move_to(moved.done))
    except asyncio.CancelledError:
        stopped = await run_to_completion(_stop(sessions, operation.id)) if operation is not None else None
        if stopped is not None:
            typer.echo(f"Interrupted. {describe_operation(stopped)}", err=True)
        raise
    ended = ended or operation
    if as_json:
        print_json(operation_document(ended))
    else:
        print_line(describe_operation(ended))
    return ended.status == "done"


async def _stop(sessions: "Sessions", operation_id: UUID) -> "Operation | None":
    from shared.operations import runs

    async with sessions.begin() as session:
        await runs.stop(session, operation_id)
        return await runs.find(session, operation_id)
