"""The commands of the console: each prints what a page shows, for people or with `--json` for programs."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

import typer

from deploy.console.client import ConsoleClient, ConsoleError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ServiceArgument = Annotated[str, typer.Argument(help="users, orders or notifications")]
Consumer = Annotated[str | None, typer.Option(help="Only this consumer, such as orders.users.")]
Key = Annotated[str | None, typer.Option(help="Only this key.")]
Note = Annotated[str, typer.Option(help="The reason of a discard, for the record.")]

Ask = Callable[[ConsoleClient], Awaitable[Any]]


def add_commands(cli: typer.Typer) -> None:
    """Add the commands that read, and those that change something."""
    _add_reads(cli)
    _add_lists(cli)
    _add_changes(cli)


def _add_reads(cli: typer.Typer) -> None:
    @cli.command()
    def health(as_json: AsJson = False) -> None:
        """Show each service's health, and the processes of the local system."""
        _print(lambda console: console.get("/system"), as_json=as_json)

    @cli.command()
    def flow(as_json: AsJson = False) -> None:
        """Show rates, waiting events, lag and delays of each topic and consumer."""
        _print(lambda console: console.get("/flow"), as_json=as_json)

    @cli.command()
    def journey(
        order: Annotated[
            str, typer.Argument(help="An order's number or id, an event's id, or a customer's e-mail address.")
        ],
        as_json: AsJson = False,
    ) -> None:
        """Show where an order is: one timeline over all services."""
        _print(lambda console: console.get("/orders", query=order), as_json=as_json)

    @cli.command()
    def stuck(as_json: AsJson = False) -> None:
        """Show stuck orders, deliveries and jobs, with reasons and what helps."""
        _print(lambda console: console.get("/stuck"), as_json=as_json)

    @cli.command()
    def invariants(as_json: AsJson = False) -> None:
        """Show what the audit has checked, and what contradicts it."""
        _print(lambda console: console.get("/invariants"), as_json=as_json)


def _add_lists(cli: typer.Typer) -> None:
    @cli.command()
    def dead_letters(consumer: Consumer = None, key: Key = None, *, as_json: AsJson = False) -> None:
        """List the dead letters of all services, and the keys that they block."""
        _print(lambda console: console.get("/dead-letters", consumer=consumer, key=key), as_json=as_json)

    @cli.command()
    def events(
        topic: Annotated[str, typer.Argument(help="users, orders, products or notifications")],
        key: Key = None,
        *,
        as_json: AsJson = False,
    ) -> None:
        """List the last events of a topic, newest first."""
        _print(lambda console: console.get(f"/flow/topics/{topic}/events", key=key), as_json=as_json)

    @cli.command()
    def actions(as_json: AsJson = False) -> None:
        """List who did what, newest first."""
        _print(lambda console: console.get("/dead-letters/actions"), as_json=as_json)

    @cli.command()
    def metrics(
        prefix: Annotated[str, typer.Argument(help="The beginning of the names, such as outbox_.")] = "",
        *,
        target: Annotated[str | None, typer.Option(help="Only this service.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """List metrics of the last scrape."""
        _print(lambda console: console.get("/metrics", prefix=prefix, target=target), as_json=as_json)


def _add_changes(cli: typer.Typer) -> None:
    dry_run = Annotated[bool, typer.Option(help="Only say what would be done.")]

    @cli.command()
    def replay(
        service: ServiceArgument,
        *,
        consumer: Consumer = None,
        key: Key = None,
        dry_run: dry_run = False,
        as_json: AsJson = False,
    ) -> None:
        """Apply dead letters of a service again."""
        body = {"action": "replay", "consumer": consumer, "key": key, "dry_run": dry_run}
        _print(lambda console: console.post(f"/dead-letters/{service}/actions", body), as_json=as_json)

    @cli.command()
    def discard(
        service: ServiceArgument,
        *,
        note: Note,
        consumer: Consumer = None,
        key: Key = None,
        dry_run: dry_run = False,
        as_json: AsJson = False,
    ) -> None:
        """Discard dead letters of a service for good."""
        body = {"action": "discard", "consumer": consumer, "key": key, "note": note, "dry_run": dry_run}
        _print(lambda console: console.post(f"/dead-letters/{service}/actions", body), as_json=as_json)

    @cli.command()
    def process(
        name: Annotated[str, typer.Argument(help="The name of a process of `make run`.")],
        action: Annotated[str, typer.Argument(help="start, stop, restart, kill, suspend or resume")],
        *,
        as_json: AsJson = False,
    ) -> None:
        """Act on a process of the local system."""
        body = {"action": action}
        _print(lambda console: console.post(f"/system/processes/{name}/actions", body), as_json=as_json)


def _print(ask: Ask, *, as_json: bool) -> None:
    """Print the answer. Exits with status 1 if the console refuses or does not answer."""

    async def answer() -> Any:
        console = ConsoleClient.from_environment()
        try:
            return await ask(console)
        finally:
            await console.close()

    try:
        found = asyncio.run(answer())
    except ConsoleError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for line in [json.dumps(found)] if as_json else _lines(found):
        typer.echo(line)


def _lines(value: Any, indent: int = 0) -> Iterator[str]:
    """Yield a JSON document as indented lines, without members that are empty."""
    space = "  " * indent
    if isinstance(value, dict):
        for name, member in value.items():
            if member in (None, [], {}):
                continue
            if isinstance(member, dict | list):
                yield f"{space}{name}:"
                yield from _lines(member, indent + 1)
            else:
                yield f"{space}{name}: {member}"
    elif isinstance(value, list):
        for item in value:
            first, *rest = list(_lines(item, indent + 1)) or [""]
            yield f"{space}- {first.strip()}"
            yield from rest
    else:
        yield f"{space}{value}"
