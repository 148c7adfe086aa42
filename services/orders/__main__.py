"""`python -m services.orders`: serve, or run a command."""

from pathlib import Path
from typing import Annotated

import typer

from services.orders.journey_cli import add_journey
from services.orders.operations_cli import add_commands
from services.orders.settings import Settings
from shared.cli import service_cli
from shared.command import run_command
from shared.logging import configure_logging
from shared.operations.tool import Tool
from shared.settings import StorageSettings, load

PACKAGE = "services.orders"

cli = service_cli(PACKAGE, settings_class=Settings)
add_commands(cli, Tool(PACKAGE, lambda: load(StorageSettings, prefix=Settings.model_config["env_prefix"])))
add_journey(cli)


@cli.command()
def import_catalogue(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="JSON lines: sku, name, description, price_cents, currency, stock."
        ),
    ],
) -> None:
    """Import products from a file. Repeatable; known products are updated, except their stock.

    Nothing is imported if any line is invalid.
    """
    from services.orders.catalogue_import import CatalogueInvalid, import_file, read_catalogue

    settings = load(Settings)
    configure_logging("orders", level=settings.log_level, format=settings.log_format)
    try:
        products = read_catalogue(file)
    except CatalogueInvalid as invalid:
        typer.echo(f"{file}: {invalid}", err=True)
        raise typer.Exit(1) from invalid
    total = run_command(import_file(settings, products))
    typer.echo(f"{len(total.created)} created, {len(total.updated)} updated, {total.unchanged} unchanged")


if __name__ == "__main__":
    cli()
