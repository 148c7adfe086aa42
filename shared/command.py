"""Running the work of a command: if a server is unavailable, the command ends with one line instead of a traceback."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

T = TypeVar("T")


def run_command(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and return its result.

    Exits with status 1 if the database or Kafka is unavailable, 2 if the database's URL leads to a pooler.
    """
    from shared.database import ConnectedThroughPooler

    try:
        return asyncio.run(work)
    except ConnectedThroughPooler as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(2) from refused
    except Exception as error:
        server = _unavailable_server(error)
        if server is None:
            raise
        typer.echo(f"{server} does not answer: {str(error).partition(chr(10))[0]}", err=True)
        raise typer.Exit(1) from error


def _unavailable_server(error: Exception) -> str | None:
    from aiokafka.errors import KafkaError

    from shared.transient_errors import is_transient

    if isinstance(error, KafkaError):
        return "Kafka"
    return "The database" if is_transient(error) else None
