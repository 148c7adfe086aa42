"""`python -m services set-up`: what a first start on one machine needs of all three, in one process.

Every service has these commands of its own, which is what production runs. Together they import the libraries once
instead of five times, which is most of their time.
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
from shared.database import dsn_of
from shared.logging import configure_logging
from shared.messaging.topics import create_topics
from shared.settings import StorageSettings, load

SERVICES = ("users", "orders", "notifications")

cli = typer.Typer(help="All services of Orderly at once.", pretty_exceptions_enable=False)


@cli.callback()
def commands() -> None:
    """Keeps `set-up` a command of its own name."""


@cli.command()
def set_up(
    admin_email: Annotated[str, typer.Option()],
    admin_password_file: Annotated[Path, typer.Option(exists=True, dir_okay=False)],
    catalogue: Annotated[Path, typer.Option(help="JSON lines, imported unless there are products.")],
    wait_seconds: Annotated[float, typer.Option(help="How long PostgreSQL and Kafka may take to answer.")] = 60,
    import_all: Annotated[bool, typer.Option(help="Also import what the services import, for its bytecode.")] = False,
) -> None:
    """Bring databases and topics up to date, make the admin, fill an empty catalogue; repeatable."""
    # While the servers start there is time to import.
    from services.orders.catalogue_import import fill_empty_catalogue
    from services.orders.settings import Settings as OrdersSettings
    from services.users.account_import import create_admin
    from services.users.settings import Settings as UsersSettings

    for service in SERVICES if import_all else ():
        import_module(f"services.{service}.app")
    password = admin_password_file.read_text().splitlines()[0]
    configure_logging("set-up", format="console")

    async def run() -> None:
        deadline = time.monotonic() + wait_seconds
        for service in SERVICES:
            storage = load(StorageSettings, prefix=f"{service.upper()}_")
            await _once_answered(partial(_connect, storage.database_url), deadline=deadline)
            await migrations_of(f"services.{service}", storage).upgrade()
        await create_admin(load(UsersSettings), email=admin_email, password=password)
        await fill_empty_catalogue(load(OrdersSettings), catalogue)
        await _once_answered(
            partial(create_topics, storage.kafka_bootstrap_servers, prefix=storage.kafka_topic_prefix),
            deadline=deadline,
        )

    asyncio.run(run())


async def _connect(database_url: str) -> None:
    connection = await asyncpg.connect(dsn_of(database_url), timeout=5)
    await connection.close()


async def _once_answered(call: Callable[[], Awaitable[None]], *, deadline: float) -> None:
    while True:
        try:
            return await call()
        except (OSError, asyncpg.PostgresError, TimeoutError, KafkaError):
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    cli()
