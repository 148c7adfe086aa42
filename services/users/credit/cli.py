"""The operators' commands for credit: release, recompute."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shared.operations.tool import Actor, AsJson, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions

Note = Annotated[str, typer.Option(help="The reason, for the log.")]


def credit_cli(tool: Tool) -> typer.Typer:
    """Return the commands."""
    cli = typer.Typer(help="Credit that does not agree with the orders.", no_args_is_help=True)
    _add_release(cli, tool)
    _add_recompute(cli, tool)
    return cli


def _add_release(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def release(
        order_id: Annotated[UUID, typer.Argument(metavar="ORDER")],
        *,
        note: Note,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Release the credit of an order that the orders service does not know."""

        async def work(sessions: "Sessions") -> bool:
            from services.users.credit import operations
            from shared.operations.output import print_json, print_line

            released = await operations.release(sessions, order_id, actor=actor_of(actor), note=note)
            if as_json:
                print_json(released)
            else:
                print_line(f"{released.released_cents} cents released; they were {released.status_before}")
            return True

        tool.run(work)


def _add_recompute(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def recompute(
        user_id: Annotated[UUID, typer.Argument(metavar="USER")],
        *,
        note: Note,
        raise_limit: Annotated[
            bool, typer.Option("--raise-limit", help="Raise a limit that is below what the orders hold.")
        ] = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Set a user's reserved and used credit to the sums of the reservations."""

        async def work(sessions: "Sessions") -> bool:
            from services.users.credit import operations
            from shared.operations.output import print_json, print_table

            done = await operations.recompute(
                sessions, user_id, raise_limit=raise_limit, actor=actor_of(actor), note=note
            )
            if as_json:
                print_json(done)
            else:
                print_table(("", "reserved", "used", "limit"), [("before", *done.before), ("after", *done.after)])
            return True

        tool.run(work)
