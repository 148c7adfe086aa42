"""The operators' commands for stock and orders: stock recompute, cancel-overdue, cancel."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shared.operations.tool import Actor, AsJson, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions

Note = Annotated[str, typer.Option(help="The reason, for the log.")]


def add_commands(cli: typer.Typer, tool: Tool) -> None:
    """Add the commands to the service's command line."""
    stock = typer.Typer(help="Stock that does not agree with the orders.", no_args_is_help=True)
    _add_recompute(stock, tool)
    cli.add_typer(stock, name="stock")

    @cli.command()
    def cancel_overdue(
        order_id: Annotated[UUID, typer.Argument(metavar="ORDER")], *, note: Note, actor: Actor = None
    ) -> None:
        """Cancel an order that is pending past its deadline now, instead of at the next try."""

        async def work(sessions: "Sessions") -> bool:
            from services.orders import stock_operations
            from shared.operations.output import print_line

            is_cancelled = await stock_operations.cancel_now(sessions, order_id, actor=actor_of(actor), note=note)
            print_line("cancelled" if is_cancelled else "the order is no longer pending")
            return True

        tool.run(work)

    @cli.command()
    def cancel(order_id: Annotated[UUID, typer.Argument(metavar="ORDER")], *, note: Note, actor: Actor = None) -> None:
        """Cancel an order that was not shipped, such as one whose user was lost with a restored database."""

        async def work(sessions: "Sessions") -> bool:
            from services.orders import stock_operations
            from shared.operations.output import print_line

            await stock_operations.cancel(sessions, order_id, actor=actor_of(actor), note=note)
            print_line("cancelled")
            return True

        tool.run(work)


def _add_recompute(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def recompute(
        sku: Annotated[str, typer.Argument(metavar="SKU")],
        *,
        note: Note,
        raise_stock: Annotated[
            bool, typer.Option("--raise-stock", help="Raise a stock that is below what open orders reserve.")
        ] = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Set a product's reserved units to the sum of its open orders."""

        async def work(sessions: "Sessions") -> bool:
            from services.orders import stock_operations
            from shared.operations.output import print_json, print_table

            done = await stock_operations.recompute(
                sessions, sku, raise_stock=raise_stock, actor=actor_of(actor), note=note
            )
            if as_json:
                print_json(done)
            else:
                print_table(("", "reserved", "stock"), [("before", *done.before), ("after", *done.after)])
            return True

        tool.run(work)
