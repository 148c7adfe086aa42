"""`python -m deploy.demo`: the demo itself; `python -m deploy.demo catalogue`: its products as JSON lines."""

import asyncio
import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from deploy.demo.catalogue import products_of
from deploy.demo.data import read_lines

cli = typer.Typer(help="Real invoices as orders.", pretty_exceptions_enable=False)


class Service(StrEnum):
    """What can be killed."""

    USERS = "users"
    ORDERS = "orders"
    NOTIFICATIONS = "notifications"


@cli.command()
def catalogue() -> None:
    """Print the products of the data, for `python -m services.orders import-catalogue`."""
    for product in products_of(read_lines()):
        print(json.dumps(product))


@cli.command()
def run(
    invoices: Annotated[int, typer.Option(min=1, help="How many of the data's invoices, from the first on.")] = 300,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests that are open at once.")] = 8,
    customers_credit: Annotated[
        int, typer.Option(min=0, help="Credit limit in pence of every tenth customer; others keep the default.")
    ] = 20_000,
    settle_seconds: Annotated[float, typer.Option(min=1, help="How long the system may take to come to rest.")] = 60,
    kill: Annotated[
        Service | None, typer.Option(help="kill -9 this service when half of the orders are placed.")
    ] = None,
) -> None:
    """Place invoices as orders, and check what became of them. Exit status 1 if an invariant is broken."""
    # Here, because `make run` waits for the catalogue, which needs none of it.
    from deploy.demo.client import Unanswered  # noqa: PLC0415
    from deploy.demo.run import Choices, run_demo  # noqa: PLC0415
    from deploy.local.process import LocalError  # noqa: PLC0415

    choices = Choices(
        invoices=invoices,
        concurrency=concurrency,
        little_credit_cents=customers_credit,
        settle_seconds=settle_seconds,
        kill=kill,
    )
    is_whole = False
    try:
        is_whole = asyncio.run(run_demo(choices))
    except* (LocalError, Unanswered) as errors:
        for error in errors.exceptions:
            print(f"  ✗ {error}", file=sys.stderr)
    if not is_whole:
        raise typer.Exit(1)


def main(arguments: list[str]) -> None:
    """Without a command's name it is `run`."""
    is_named = arguments[:1] in (["run"], ["catalogue"], ["--help"])
    cli(arguments if is_named else ["run", *arguments], prog_name="python -m deploy.demo")


if __name__ == "__main__":
    main(sys.argv[1:])
