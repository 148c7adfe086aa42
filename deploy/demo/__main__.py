"""The command line of the demo: `python -m deploy.demo [run]`, and `catalogue`, which prints its products."""

import asyncio
import json
import os
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.demo.catalogue import products_of
from deploy.demo.invoices import read_lines

if TYPE_CHECKING:
    from deploy.demo.target import Target
    from deploy.local.screen import Screen

cli = typer.Typer(
    help="Place real invoices as orders, and check invariants across services.",
    pretty_exceptions_enable=False,
)


class Service(StrEnum):
    """A service that the demo can kill."""

    USERS = "users"
    ORDERS = "orders"
    NOTIFICATIONS = "notifications"


@cli.command()
def catalogue() -> None:
    """Print the products of the invoices as JSON lines, for `python -m services.orders import-catalogue`."""
    for product in products_of(read_lines()):
        print(json.dumps(product))


@cli.command()
def run(
    invoices: Annotated[int, typer.Option(min=1, help="Number of invoices to place, from the first one on.")] = 300,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Limit of requests that are open at once.")] = 8,
    low_credit_limit: Annotated[
        int, typer.Option(min=0, help="Credit limit of every tenth customer, in pence. Others have the default.")
    ] = 20_000,
    settle_seconds: Annotated[
        float,
        typer.Option(min=1, help="Time limit for deciding every order, and for applying every event."),
    ] = 60,
    kill: Annotated[
        Service | None, typer.Option(help="Kill this service (kill -9) when half of the invoices are placed.")
    ] = None,
) -> None:
    """Place invoices as orders, and check the result. The exit status is 1 if an invariant is violated."""
    # Imported here: `make run` waits for `catalogue`, which needs none of it.
    from deploy.demo.client import RequestFailed  # noqa: PLC0415
    from deploy.demo.run import Options, run_demo  # noqa: PLC0415
    from deploy.local.process import LocalError  # noqa: PLC0415
    from deploy.local.screen import Screen  # noqa: PLC0415

    options = Options(
        invoices=invoices,
        concurrency=concurrency,
        low_credit_limit_cents=low_credit_limit,
        settle_seconds=settle_seconds,
        kill=kill,
    )
    has_passed = False
    try:
        screen = Screen()
        has_passed = asyncio.run(run_demo(options, screen=screen, opened=_target(screen)))
    except* (LocalError, RequestFailed) as errors:
        for error in errors.exceptions:
            print(f"  ✗ {error}", file=sys.stderr)
    if not has_passed:
        raise typer.Exit(1)


def _target(screen: "Screen") -> "AbstractAsyncContextManager[Target]":
    """Return the system of compose in its container `demo`, and otherwise that of `make run`, started if need be.

    What `make run` needs is not installed in the container.
    """
    if "DEMO_GATEWAY_URL" in os.environ:
        from deploy.demo.composed import ComposedSystem  # noqa: PLC0415

        return nullcontext(ComposedSystem())
    from deploy.demo.system import running_system  # noqa: PLC0415
    from deploy.local.settings import LocalSettings  # noqa: PLC0415

    return running_system(LocalSettings(), screen=screen)


def main(arguments: list[str]) -> None:
    """Run a command; `run` if none is named."""
    is_named = arguments[:1] in (["run"], ["catalogue"], ["--help"])
    cli(arguments if is_named else ["run", *arguments], prog_name="python -m deploy.demo")


if __name__ == "__main__":
    main(sys.argv[1:])
