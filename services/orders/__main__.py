"""python -m services.orders: serve, migrate, import the catalogue."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from services.orders.settings import Settings
from shared.cli import service_cli
from shared.logging import configure_logging
from shared.settings import load

cli = service_cli("services.orders", settings_class=Settings)


@cli.command()
def import_catalogue(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines: sku, name, description, price_cents, ...")
    ],
) -> None:
    """Add the file's products, or bring known ones up to date; repeatable, and nothing is imported of a bad file."""
    from services.orders.catalogue_import import InvalidCatalogue, import_file, read_catalogue

    settings = load(Settings)
    configure_logging("orders", level=settings.log_level, format=settings.log_format)
    try:
        products = read_catalogue(file)
    except InvalidCatalogue as invalid:
        typer.echo(f"{file}: {invalid}", err=True)
        raise typer.Exit(1) from invalid
    total = asyncio.run(import_file(settings, products))
    typer.echo(f"{len(total.created)} created, {len(total.updated)} updated, {total.unchanged} unchanged")


if __name__ == "__main__":
    cli()
