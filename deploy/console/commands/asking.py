"""The options that all commands share, and how they ask the console and print its answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

import typer

from deploy.console.client import ConsoleClient, ConsoleError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="users, orders or notifications")]
Consumer = Annotated[str | None, typer.Option(help="Only this consumer, such as orders.users.")]
Key = Annotated[str | None, typer.Option(help="Only this key.")]
EventType = Annotated[str | None, typer.Option("--type", help="Only this event type, such as user.credit_reserved.")]
Reason = Annotated[str | None, typer.Option(help="Only dead letters with this reason.")]

Ask = Callable[[ConsoleClient], Awaitable[Any]]


def print_answer(ask: Ask, *, as_json: bool) -> None:
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
