"""`make chaos-upgrade`: change from the last version to this one under load, and back; exit status 1 on a violation."""

import asyncio
import logging
import random
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import structlog
import typer

from deploy.local.process import LocalError
from deploy.local.screen import Screen
from tests.chaos.upgrade import evidence
from tests.chaos.upgrade.campaigns import Campaigns
from tests.chaos.upgrade.plants import PLANTS
from tests.chaos.upgrade.versions import previous_ref
from tests.harness.cli import chosen

cli = typer.Typer(
    help="Change versions under load and check the guarantees.", add_completion=False, pretty_exceptions_enable=False
)


@cli.command()
def run(
    *,
    upgrade: Annotated[bool, typer.Option("--upgrade", hidden=True, help="Chosen by python -m tests.chaos.")] = True,
    seeds: Annotated[int, typer.Option(min=1, help="Number of campaigns.")] = 1,
    seed: Annotated[int | None, typer.Option(help="First seed; the others follow it. Default: random.")] = None,
    from_ref: Annotated[
        str | None,
        typer.Option("--from", help="The old version. Default: the newest tag v* before HEAD, else the file."),
    ] = None,
    plant: Annotated[
        str, typer.Option(help=f"Run one campaign on each of these planted versions: {', '.join(PLANTS)}.")
    ] = "",
    evidence_file: Annotated[Path | None, typer.Option("--evidence", help="Write the evidence to this file.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep the folder with logs and data.")] = False,
) -> None:
    """Run campaigns from the old version to this one, or planted ones that must be caught."""
    assert upgrade
    first = random.SystemRandom().randrange(1, 1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="orderly-upgrade-"))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    campaigns = Campaigns(Screen(), folder, range(first, first + seeds))
    plants = [PLANTS[name] for name in chosen(plant, known=PLANTS)]
    try:
        if plants:
            # A planted version is the next one after this checkout's commit.
            passed = asyncio.run(campaigns.run_plants(from_ref or "HEAD", plants))
        else:
            record = asyncio.run(campaigns.run(from_ref or previous_ref()))
            passed = record.has_passed
            if evidence_file is not None:
                evidence.write(evidence_file, record)
    except LocalError as error:
        campaigns.screen.error(str(error))
        raise typer.Exit(1) from error
    if passed and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(0 if passed else 1)


if __name__ == "__main__":
    cli()
