"""The command line that every service has: serve, migrate, and what its migrations need."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
import typer
import uvicorn
from fastapi import FastAPI

from shared.logging import configure_logging
from shared.messaging.kafka_topics import create_topics
from shared.migrations.runner import Migrations
from shared.settings import ServiceSettings, StorageSettings, load

SHUTDOWN_SECONDS = 10

S = TypeVar("S", bound=ServiceSettings)


def service_cli(
    *,
    name: str,
    settings_class: type[S],
    create_app: Callable[[S], FastAPI],
    metadata: sa.MetaData,
    folder: Path,
) -> typer.Typer:
    """The Typer application of one service; without a command it serves. `folder` is the service's own."""
    cli = typer.Typer(help=f"The {name} service of Orderly.", no_args_is_help=False, pretty_exceptions_enable=False)

    def storage() -> StorageSettings:
        loaded = load(StorageSettings, prefix=settings_class.model_config["env_prefix"])
        configure_logging(name, level=loaded.log_level, format=loaded.log_format)
        return loaded

    def migrations() -> Migrations:
        return Migrations(folder=folder / "migrations", metadata=metadata, database_url=storage().database_url)

    @cli.callback(invoke_without_command=True)
    def default(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            serve()

    @cli.command()
    def serve() -> None:
        """Serve HTTP, and run relay, consumers and jobs beside it; SIGTERM drains and ends it."""
        loaded = load(settings_class)
        configure_logging(name, level=loaded.log_level, format=loaded.log_format)
        uvicorn.run(
            create_app(loaded),
            host=loaded.http_host,
            port=loaded.http_port,
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=loaded.trusted_proxies,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )

    @cli.command()
    def migrate() -> None:
        """Bring the database to the newest revision, and create the Kafka topics; repeatable."""
        loaded = storage()

        async def run() -> None:
            await asyncio.gather(
                migrations().upgrade(),
                create_topics(loaded.kafka_bootstrap_servers, prefix=loaded.kafka_topic_prefix),
            )

        asyncio.run(run())

    @cli.command()
    def downgrade(revision: str) -> None:
        """Bring the database back to an older revision; "base" drops everything."""
        asyncio.run(migrations().downgrade(revision))

    @cli.command()
    def check_migrations() -> None:
        """Fail when the models say what no migration does."""
        asyncio.run(migrations().check())

    @cli.command()
    def make_migration(message: str, revision: str) -> None:
        """Write migration REVISION (four digits) from the difference between the models and the database."""
        asyncio.run(migrations().revise(message, revision=revision))

    return cli
