"""Running the work of a command: an error that a server has caused ends it with one line instead of a traceback."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

T = TypeVar("T")


def run_command(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and return its result.

    Exits with status 1 if the database is unavailable, or Kafka is or rejects a request; 2 if the database's URL leads
    to a pooler.
    """
    from shared.database import ConnectedThroughPooler

    try:
        return asyncio.run(work)
    except ConnectedThroughPooler as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(2) from refused
    except Exception as error:
        cause = _cause_outside(error)
        if cause is None:
            raise
        typer.echo(f"{cause}: {str(error).partition(chr(10))[0]}", err=True)
        raise typer.Exit(1) from error


def _cause_outside(error: Exception) -> str | None:
    """Return what a server has done to cause the error; None if it is an error of the command."""
    from aiokafka.errors import BrokerResponseError, KafkaError

    from shared.transient_errors import is_database_unavailable

    if isinstance(error, BrokerResponseError):
        return "Kafka has rejected a request"
    if isinstance(error, KafkaError):
        return "Kafka does not answer"
    return "The database does not answer" if is_database_unavailable(error) else None
