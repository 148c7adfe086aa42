"""The operators' commands for jobs that do not go on: list, retry, discard, schedules."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shared.operations.tool import Actor, AsJson, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions

Ids = Annotated[list[int], typer.Argument(metavar="ID...", min=1, help="Held jobs, as `jobs list` shows them.")]
Note = Annotated[str, typer.Option(help="The reason, for the record.")]


def jobs_cli(tool: Tool) -> typer.Typer:
    """Return the commands of one service."""
    cli = typer.Typer(help="Jobs that are held after their last attempt, or overdue.", no_args_is_help=True)
    _add_list(cli, tool)
    _add_schedules(cli, tool)

    @cli.command()
    def retry(ids: Ids, *, note: Note, actor: Actor = None, as_json: AsJson = False) -> None:
        """Enqueue held jobs again, with all their attempts: all of them, or none."""
        _act(tool, ids, "retry", note=note, actor=actor, as_json=as_json)

    @cli.command()
    def discard(ids: Ids, *, note: Note, actor: Actor = None, as_json: AsJson = False) -> None:
        """Delete held jobs: all of them, or none. Their work is not done."""
        _act(tool, ids, "discard", note=note, actor=actor, as_json=as_json)

    return cli


def _add_list(cli: typer.Typer, tool: Tool) -> None:
    @cli.command("list")
    def list_(
        *,
        status: Annotated[
            str, typer.Option(help="`failed`: held after their last attempt. `overdue`: due, and not begun.")
        ] = "failed",
        limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 50,
        as_json: AsJson = False,
    ) -> None:
        """List the jobs that do not go on, the oldest first."""
        if status not in {"failed", "overdue"}:
            raise typer.BadParameter("failed or overdue", param_hint="--status")

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_json, print_table
            from shared.operations.queued_jobs import job_view, stuck_jobs

            query = stuck_jobs("failed" if status == "failed" else "overdue").limit(limit)
            async with sessions() as session:
                jobs = [job_view(tool.service, *row) for row in await session.execute(query)]
            if as_json:
                print_json(jobs)
            else:
                names = ("id", "task", "status", "retries", "due_at", "error")
                print_table(names, [[getattr(job, name) for name in names] for job in jobs])
            return True

        tool.run(work)


def _add_schedules(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def schedules(*, as_json: AsJson = False) -> None:
        """Show the scheduled tasks, and for how long each is due."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_json, print_table
            from shared.operations.queued_jobs import ScheduleView, list_schedules

            async with sessions() as session:
                found = await list_schedules(session)
            if as_json:
                print_json(found)
            else:
                names = tuple(ScheduleView.model_fields)
                print_table(names, [[getattr(schedule, name) for name in names] for schedule in found])
            return True

        tool.run(work)


def _act(
    tool: Tool, ids: list[int], action: Literal["retry", "discard"], *, note: str, actor: str | None, as_json: bool
) -> None:
    async def work(sessions: "Sessions") -> bool:
        from shared.operations.output import print_json, print_line
        from shared.operations.queued_jobs import act_on_jobs, log_acted

        name = actor_of(actor)
        async with sessions.begin() as session:
            jobs = await act_on_jobs(session, ids, action=action, actor=name, note=note)
        log_acted(jobs, action=action, actor=name)
        if as_json:
            print_json({"jobs": len(jobs)})
        else:
            print_line(f"{len(jobs)} {'queued again' if action == 'retry' else 'discarded'}")
        return True

    tool.run(work)
