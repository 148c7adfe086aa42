"""`python -m tests.drill`: destroy databases under load, restore them, and audit; exit status 1 if anything is lost."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from deploy.demo.client import Client
from deploy.local.credentials import SERVICES, ensure_credentials
from deploy.local.ports import free_port
from deploy.local.postgres import server_of
from deploy.local.screen import Screen
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from tests.drill.commits import Commits, committing
from tests.drill.load import REQUEST_SECONDS, working
from tests.drill.report import Outcome, line_of, table_of
from tests.drill.rounds import Drill
from tests.drill.settling import settle
from tests.harness.whole_system import whole_system

DEFAULT_BACK_SECONDS = 30.0
TARGETS: Sequence[Sequence[str]] = (*((service,) for service in SERVICES), SERVICES)
"""The databases of each round: each one in turn, then all of them."""
VIOLATIONS_SHOWN = 10

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def run(
    *,
    back_seconds: Annotated[
        float, typer.Option(min=1, help="Age of the earlier state, at the end.")
    ] = DEFAULT_BACK_SECONDS,
    newest_only: Annotated[bool, typer.Option(help="Restore to the newest state only.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the load. Default: random.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep the folder with logs and data.")] = False,
) -> None:
    """Restore each database in turn, then all of them: to the newest state, and to an earlier one."""
    chosen = random.SystemRandom().randrange(1, 1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="orderly-drill-"))
    screen = Screen()
    screen.note(f"seed {chosen}; logs in {folder}")
    outcome = Outcome()
    backs = [0.0] if newest_only else [0.0, back_seconds]
    try:
        asyncio.run(_drill(folder, screen, backs, seed=chosen, outcome=outcome))
    finally:
        screen.table(table_of(outcome))
    for problem in outcome.problems[:VIOLATIONS_SHOWN]:
        screen.console.print(f"  {problem}", style="red", markup=False)
    if not outcome.problems and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(1 if outcome.problems else 0)


async def _drill(folder: Path, screen: Screen, backs: Sequence[float], *, seed: int, outcome: Outcome) -> None:
    ports = {name: free_port() for name in LocalSettings.model_fields if name.endswith("_port")}
    # The drill audits itself.
    own = {"folder": folder, "wal_archive": "synchronous", "audit": "off", "console": "off"}
    settings = LocalSettings.model_validate({**own, **ports})
    credentials = ensure_credentials(folder / "secrets")
    services = Services(
        settings=settings, credentials=credentials, kafka_bootstrap_servers=f"127.0.0.1:{settings.kafka_port}"
    )
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(whole_system(services))
        screen.note("The system runs.")
        commits = {
            service: Commits(_superuser_url(settings, credentials.database_passwords, service)) for service in SERVICES
        }
        await stack.enter_async_context(committing(*commits.values()))
        http = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=settings.gateway_url, timeout=REQUEST_SECONDS)
        )
        client = Client(http, timeout_seconds=REQUEST_SECONDS)
        drill = Drill(settings, credentials, system.processes.supervisor, commits)
        for number, (back_seconds, targets) in enumerate((back, each) for back in backs for each in TARGETS):
            async with working(client, admin_password=system.running.admin_password, seed=seed + number):
                one = await drill.round(targets, back_seconds=back_seconds)
            settlement = await settle(services, system.running.databases, accepted=outcome.accepted)
            outcome.rounds.append((one, settlement))
            screen.note(line_of(one, settlement))


def _superuser_url(settings: LocalSettings, passwords: Mapping[str, str], service: str) -> str:
    """Return the URL of a service's database for the superuser: a service's own role may make no table."""
    password, port = passwords[server_of(service)], settings.postgres_port_of(service)
    return f"postgresql://postgres:{password}@127.0.0.1:{port}/{service}"


if __name__ == "__main__":
    cli()
