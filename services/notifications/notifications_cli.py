"""The operators' commands for notifications: drop."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shared.operations.tool import Actor, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions


def notifications_cli(tool: Tool) -> typer.Typer:
    """Return the commands."""
    cli = typer.Typer(help="Notifications that do not agree with the orders.", no_args_is_help=True)

    @cli.callback()
    def group() -> None:
        """Keep the only command a subcommand."""

    @cli.command()
    def drop(
        *,
        note: Annotated[str, typer.Option(help="The reason, for the log.")],
        notification_id: Annotated[UUID | None, typer.Option("--id", help="One notification.")] = None,
        order: Annotated[UUID | None, typer.Option(help="All about this order.")] = None,
        actor: Actor = None,
    ) -> None:
        """Delete a notification, or those about an order that the orders service does not know."""

        async def work(sessions: "Sessions") -> bool:
            from services.notifications import notification_operations
            from shared.operations.output import print_line

            dropped = await notification_operations.drop(
                sessions,
                notification_id=notification_id,
                order_id=order,
                actor=actor_of(actor),
                note=note,
            )
            print_line(f"{len(dropped)} dropped")
            return True

        tool.run(work)

    return cli
