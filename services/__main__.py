"""`python -m services set-up`: prepare all three services for their first start on one machine, in one process.

Production runs the commands of each service instead. One process imports the libraries once instead of five times,
which would take most of the time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from aiokafka.errors import KafkaError

from shared.cli import migrations_of
from shared.command import run_command
from shared.connection_errors import CONNECTION_ERRORS
from shared.connection_urls import dsn_of
from shared.logging import configure_logging
from shared.messaging.kafka import kafka_of
from shared.messaging.topics import create_topics
from shared.settings import StorageSettings, load

SERVICES = ("users", "orders", "notifications")

cli = typer.Typer(help="All services of Orderly at once.", pretty_exceptions_enable=False)


@cli.callback()
def commands() -> None:
    """Keep `set-up` a subcommand: Typer would run a single command without its name."""


@cli.command()
def set_up(
    admin_email: Annotated[str, typer.Option()],
    admin_password_file: Annotated[Path, typer.Option(exists=True, dir_okay=False)],
    catalogue: Annotated[Path, typer.Option(help="JSON lines of products, imported if there are no products yet.")],
    wait_seconds: Annotated[float, typer.Option(help="Seconds to wait for PostgreSQL and Kafka.")] = 60,
    import_all: Annotated[bool, typer.Option(help="Also import the services, to compile their bytecode.")] = False,
) -> None:
    """Migrate databases, create topics and the admin, and fill an empty catalogue. Repeatable."""
    # Import while the servers start.
    from services.orders.catalogue_import import fill_empty_catalogue
    from services.orders.settings import Settings as OrdersSettings
    from services.users.administration.creation import create_admin
    from services.users.settings import Settings as UsersSettings

    for service in SERVICES if import_all else ():
        import_module(f"services.{service}.app")
    password = admin_password_file.read_text().splitlines()[0]
    configure_logging("set-up", format="console")

    async def run() -> None:
        deadline = time.monotonic() + wait_seconds
        for service in SERVICES:
            storage = load(StorageSettings, prefix=f"{service.upper()}_")
            await _retry_until_connected(partial(_connect, storage.owner_database_url), deadline=deadline)
            await migrations_of(f"services.{service}", storage).upgrade()
        await create_admin(load(UsersSettings), email=admin_email, password=password)
        await fill_empty_catalogue(load(OrdersSettings), catalogue)
        await _retry_until_connected(partial(create_topics, kafka_of(storage)), deadline=deadline)

    run_command(run())


async def _connect(database_url: str) -> None:
    connection = await asyncpg.connect(dsn_of(database_url), timeout=5)
    await connection.close()


async def _retry_until_connected(call: Callable[[], Awaitable[None]], *, deadline: float) -> None:
    """Call until it does not fail to connect. Raises: the last error, after the deadline."""
    while True:
        try:
            return await call()
        except (KafkaError, *CONNECTION_ERRORS):
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    cli()
