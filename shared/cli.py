"""The command line of every service: serve, migrate, commands for its migrations, and the operators' commands.

A command imports what it needs only when it runs: importing the whole application takes two seconds of CPU time, which
a command such as `outbox status` would spend for nothing.
"""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.command import run_command
from shared.garbage_collector import tune_garbage_collector
from shared.logging import configure_logging
from shared.operations.cli import add_operations
from shared.operations.tool import Tool
from shared.settings import Role, ServiceSettings, StorageSettings, load

if TYPE_CHECKING:
    from shared.migrations.runner import Migrations
    from shared.otlp import Telemetry

RoleOption = Annotated[
    str | None, typer.Option(help=f"Comma-separated roles of this process: {', '.join(Role)}. Default: all.")
]


def service_cli(package: str, *, settings_class: type[ServiceSettings]) -> typer.Typer:
    """Return the Typer application of one service. Without a command it serves.

    `package` is the service's package. It has `app.create_app`, `models.Base`, `subscribers.SUBSCRIPTIONS` and the
    folder `migrations`, and `jobs.REPUBLISHED` if it republishes.
    """
    name = package.rpartition(".")[2]
    cli = typer.Typer(help=f"The {name} service of Orderly.", no_args_is_help=False, pretty_exceptions_enable=False)
    prefix = settings_class.model_config["env_prefix"]

    def storage() -> StorageSettings:
        loaded = load(StorageSettings, prefix=prefix)
        configure_logging(name, level=loaded.log_level, format=loaded.log_format)
        return loaded

    @cli.callback(invoke_without_command=True)
    def default(context: typer.Context, role: RoleOption = None) -> None:
        if context.invoked_subcommand is None:
            serve(role)

    @cli.command()
    def serve(role: RoleOption = None) -> None:
        """Serve HTTP, and run relay, consumers and jobs. SIGTERM finishes the current work and exits."""
        from shared.database import refuse_pooler
        from shared.server import server_of
        from shared.watchdog import Watchdog

        if role is not None:
            os.environ[f"{prefix}ROLES"] = role
        loaded = load(settings_class)
        telemetry = _open_telemetry(name, loaded)
        export = telemetry.export_line if telemetry else None
        configure_logging(name, level=loaded.log_level, format=loaded.log_format, export=export)
        run_command(refuse_pooler(loaded.database_url))
        app = import_module(f"{package}.app").create_app(loaded)
        tune_garbage_collector()
        health = app.state.health
        if loaded.watchdog_limit_seconds:
            Watchdog(health.stuck, limit_seconds=loaded.watchdog_limit_seconds).start()
        try:
            server_of(app, loaded, shutdown=health.shutdown).run()
        finally:
            if telemetry is not None:
                telemetry.close()

    _add_migrations(cli, package, storage)
    add_operations(cli, Tool(package, lambda: load(StorageSettings, prefix=prefix)))
    return cli


def _open_telemetry(name: str, settings: ServiceSettings) -> "Telemetry | None":
    """Export this process's spans and log lines, if the settings name a collector."""
    if not settings.otlp_endpoint:
        return None
    # The exporter takes 2 MB, and 0.2 s to import.
    from shared.otlp import Telemetry

    return Telemetry(name, endpoint=settings.otlp_endpoint, sample_ratio=settings.trace_sample_ratio)


def _add_migrations(cli: typer.Typer, package: str, storage: Callable[[], StorageSettings]) -> None:
    @cli.command()
    def migrate(
        topics: Annotated[bool, typer.Option(help="Also create the Kafka topics that do not exist yet.")] = True,
    ) -> None:
        """Upgrade the database to the newest revision. Safe to repeat."""
        loaded = storage()

        async def run() -> None:
            await migrations_of(package, loaded).upgrade()
            if topics:
                from shared.messaging.kafka import kafka_of
                from shared.messaging.topics import create_topics

                await create_topics(kafka_of(loaded))

        run_command(run())

    @cli.command()
    def downgrade(revision: str) -> None:
        """Downgrade the database to an older revision; "base" drops everything."""
        run_command(migrations_of(package, storage()).downgrade(revision))

    @cli.command()
    def check_migrations() -> None:
        """Fail if the models differ from the migrated database."""
        run_command(migrations_of(package, storage()).check())

    @cli.command()
    def make_migration(message: str, revision: str) -> None:
        """Write migration REVISION (four digits) from the differences between the models and the database."""
        run_command(migrations_of(package, storage()).revise(message, revision=revision))


def migrations_of(package: str, storage: StorageSettings) -> "Migrations":
    """Return the migrations of the service in `package`."""
    from shared.migrations.runner import Migrations

    (folder,) = import_module(package).__path__
    return Migrations(
        folder=Path(folder) / "migrations",
        metadata=import_module(f"{package}.models").Base.metadata,
        database_url=storage.owner_database_url,
    )
