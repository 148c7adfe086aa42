"""The operators' commands for erasures: list, retry, repeat."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shared.operations.tool import Actor, AsJson, Tool, actor_of

if TYPE_CHECKING:
    from services.users.erasure.repeating import LostErasure
    from shared.database import Sessions


def erasures_cli(tool: Tool) -> typer.Typer:
    """Return the commands."""
    cli = typer.Typer(help="Erasures of users' personal data, most of all those that are stuck.", no_args_is_help=True)
    _add_list(cli, tool)
    _add_retry(cli, tool)
    _add_repeat(cli, tool)
    return cli


def _add_list(cli: typer.Typer, tool: Tool) -> None:
    @cli.command(name="list")
    def list_(
        *,
        all_: Annotated[bool, typer.Option("--all", help="Also those that are completed.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """List the erasures that are pending, oldest first. --all --json prints the receipts to keep elsewhere."""

        async def work(sessions: "Sessions") -> bool:
            from services.users.erasure.queries import erasures_oldest_first, with_acknowledgements
            from services.users.erasure.schemas import ErasureView
            from shared.operations.output import print_json, print_line, print_table

            async with sessions() as session:
                erasures = (await session.scalars(erasures_oldest_first(None if all_ else "pending"))).all()
                views = [ErasureView.of(receipt) for receipt in await with_acknowledgements(session, erasures)]
            if as_json:
                print_json(views)
            elif views:
                columns = ("id", "user_id", "status", "requested_at", "asked", "waits_for")
                print_table(columns, [[getattr(view, column) for column in columns] for view in views])
            else:
                print_line("There are no such erasures.")
            return True

        tool.run(work)


def _add_retry(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def retry(erasure_id: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
        """Ask the services again now; also after the completion, if one of them was restored since."""

        async def work(sessions: "Sessions") -> bool:
            from services.users.erasure import commands
            from shared.operations.output import print_line

            async with sessions.begin() as session:
                receipt = await commands.retry(session, erasure_id=erasure_id)
            print_line(f"asked {receipt.erasure.asked} times; waits for {', '.join(receipt.waits_for) or 'none'}")
            return True

        tool.run(work)


def _add_repeat(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def repeat(
        *,
        file: Annotated[
            Path | None,
            typer.Option(exists=True, dir_okay=False, help="Receipts, as `erasures list --all --json` prints them."),
        ] = None,
        topic: Annotated[
            bool, typer.Option("--from-topic", help="The requests of the last seven days, from the topic `users`.")
        ] = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Request the erasures again that a restored database of users has lost. Harmless for those that it has."""
        if (file is None) == (not topic):
            raise typer.BadParameter("give either --file or --from-topic")

        async def work(sessions: "Sessions") -> bool:
            from services.users.erasure.repeating import repeat as repeat_erasures
            from shared.operations.output import print_json, print_table

            lost = await _lost_erasures(tool, file)
            outcomes = await repeat_erasures(sessions, lost, actor=actor_of(actor))
            rows = [(one.erasure.id, one.erasure.user_id, one.outcome) for one in outcomes]
            if as_json:
                print_json([dict(zip(("id", "user_id", "outcome"), row, strict=True)) for row in rows])
            else:
                print_table(("id", "user", "outcome"), rows)
            return all(one.outcome != "last_admin" for one in outcomes)

        tool.run(work)


async def _lost_erasures(tool: Tool, file: Path | None) -> "list[LostErasure]":
    from services.users.erasure.repeating import receipts_in, receipts_in_topic
    from shared.messaging.kafka import kafka_of

    return receipts_in(file) if file is not None else await receipts_in_topic(kafka_of(tool.load_settings()))
