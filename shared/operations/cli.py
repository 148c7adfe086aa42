"""The operators' commands of every service's command line, such as dead-letters, events, jobs, outbox, republish."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shared.operations.dead_letters_cli import dead_letters_cli
from shared.operations.jobs_cli import jobs_cli
from shared.operations.look_up_cli import actions_cli, events_cli
from shared.operations.positions_cli import positions_cli
from shared.operations.recovery_cli import add_recover
from shared.operations.tool import Actor, AsJson, DryRun, Since, Tool, actor_of, time_of
from shared.operations.topics_cli import topics_cli

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from shared.database import Sessions
    from shared.messaging.outbox.resend import ResendPlan
    from shared.operations.runs import Operation
    from shared.operations.sending import Sending


def add_operations(cli: typer.Typer, tool: Tool) -> None:
    """Add the operators' commands to a service's command line."""
    cli.add_typer(dead_letters_cli(tool), name="dead-letters")
    cli.add_typer(positions_cli(tool), name="positions")
    cli.add_typer(events_cli(tool), name="events")
    cli.add_typer(jobs_cli(tool), name="jobs")
    cli.add_typer(actions_cli(tool), name="actions")
    cli.add_typer(_outbox_cli(tool), name="outbox")
    cli.add_typer(topics_cli(tool), name="topics")
    add_recover(cli, tool)

    @cli.command()
    def republish(
        *,
        type_: Annotated[
            list[str] | None, typer.Option("--type", help="Only this type; may be repeated. Default: every type.")
        ] = None,
        since: Annotated[
            str | None, typer.Option(help="Only what changed at or after this time, if the service stores that.")
        ] = None,
        key: Annotated[
            list[str] | None, typer.Option(help="Only this aggregate of one --type; may be repeated.")
        ] = None,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Publish the current state of all aggregates, for consumers that are new or have lost their data."""
        if key and len(type_ or ()) != 1:
            raise typer.BadParameter("name the one --type that it is a key of", param_hint="--key")

        async def work(sessions: "Sessions") -> bool:
            sending = tool.sending()
            changed_since = time_of(since) if since else None

            async def begin(session: "AsyncSession") -> "Operation":
                return await sending.begin_republication(
                    session, types=type_ or (), since=changed_since, actor=actor_of(actor), keys=key or ()
                )

            return await _run_operation(sessions, sending, begin, as_json=as_json)

        tool.run(work)


def _outbox_cli(tool: Tool) -> typer.Typer:
    cli = typer.Typer(help="The events that wait to be published, and those that were published.", no_args_is_help=True)

    @cli.command()
    def status(as_json: AsJson = False) -> None:
        """Show how many events wait and for how long, how many can be resent, and which relay leads."""

        async def work(sessions: "Sessions") -> bool:
            from shared.messaging.outbox.resend import outbox_status
            from shared.operations.output import print_json, print_status
            from shared.operations.schemas import OutboxStatusView

            async with sessions() as session:
                found = await outbox_status(session)
            if as_json:
                print_json(OutboxStatusView.of(found))
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
        topic: Annotated[str | None, typer.Option(help="Only this topic.")] = None,
        key: Annotated[str | None, typer.Option(help="Only this key.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many, oldest first.")] = None,
        dry_run: DryRun = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Publish sent events again with the same ids, after a broker has lost data."""

        async def work(sessions: "Sessions") -> bool:
            from shared.messaging.outbox.resend import count_events, plan_resend
            from shared.operations.output import print_json, print_line
            from shared.operations.sending import begin_resend

            async def plan(session: "AsyncSession") -> "ResendPlan":
                return await plan_resend(session, since=time_of(since), topic=topic, key=key, limit=limit)

            async def begin(session: "AsyncSession") -> "Operation":
                return await begin_resend(session, await plan(session), actor=actor_of(actor))

            if not dry_run:
                return await _run_operation(sessions, tool.sending(), begin, as_json=as_json)
            async with sessions() as session:
                events, _ = await count_events(session, await plan(session))
            if as_json:
                print_json({"dry_run": True, "events": events})
            else:
                print_line(f"{events} events would be resent")
            return True

        tool.run(work)


async def _run_operation(
    sessions: "Sessions", sending: "Sending", begin: "Callable[[AsyncSession], Awaitable[Operation]]", *, as_json: bool
) -> bool:
    """Begin an operation and run it to its end in this process. An interrupt stops the operation."""
    from shared.operations.interrupts import run_to_completion
    from shared.operations.output import describe_operation, print_json, print_line, progress
    from shared.operations.schemas import OperationView

    operation: Operation | None = None
    try:
        async with sessions.begin() as session:
            operation = await begin(session)
        with progress(operation.kind, total=operation.total) as set_done:
            ended = await sending.run(sessions, operation.id, on_progress=lambda current: set_done(current.done))
    except asyncio.CancelledError:
        stopped = await run_to_completion(_stop(sessions, operation.id)) if operation is not None else None
        if stopped is not None:
            typer.echo(f"Interrupted. {describe_operation(stopped)}", err=True)
        raise
    ended = ended or operation
    if as_json:
        print_json(OperationView.of(ended))
    else:
        print_line(describe_operation(ended))
    return ended.status == "done"


async def _stop(sessions: "Sessions", operation_id: UUID) -> "Operation | None":
    from shared.operations import runs

    async with sessions.begin() as session:
        await runs.stop(session, operation_id)
        return await runs.find(session, operation_id)
