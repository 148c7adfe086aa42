"""`python -m tests.chaos.hostile`: floods all topics with hostile records; exit status 1 if that broke something."""

import asyncio
import logging
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.hostile_flood import Outcome, run_flood
from tests.harness import servers
from tests.harness.databases import DatabaseFactory

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def run(
    *,
    records: Annotated[int, typer.Option(min=1, help="Hostile records in each topic.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Seed of the records.")] = 14,
    per_second: Annotated[
        float | None, typer.Option(min=1, help="Records a second in each topic. Default: as many as Kafka takes.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for the consumers to catch up after the last record.")] = 1_800,
) -> None:
    """Send hostile records to every consumed topic, beside honest events, and print what became of each record."""
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    servers.begin_run("local")
    began_at = time.monotonic()
    try:
        outcomes = asyncio.run(_run(records=records, seed=seed, seconds=seconds, per_second=per_second))
    finally:
        servers.end_run()
    _print(outcomes, seconds=time.monotonic() - began_at)
    if any(outcome.violations for outcome in outcomes.values()):
        raise typer.Exit(1)


async def _run(*, records: int, seed: int, seconds: float, per_second: float | None) -> dict[str, Outcome]:
    databases = DatabaseFactory(servers.url_of("postgres"))
    try:
        return await run_flood(
            databases,
            bootstrap_servers=servers.url_of("kafka"),
            topic_prefix="hostile.",
            records=records,
            seed=seed,
            seconds=seconds,
            per_second=per_second,
        )
    finally:
        await databases.drop_all()


def _percentiles(seconds: Sequence[float]) -> list[str]:
    """Return p50, p99 and the maximum; dashes if there are too few values."""
    if len(seconds) < 2:
        return ["-"] * 3
    ranks = quantiles(seconds, n=100)
    return [f"{value:.2f}" for value in (ranks[49], ranks[98], max(seconds))]


def _print(outcomes: dict[str, Outcome], *, seconds: float) -> None:
    console = Console(width=160)
    table = Table("consumer", "records", "what became of them", "honest events", "p50 s", "p99 s", "max s", box=None)
    for consumer, outcome in outcomes.items():
        table.add_row(
            consumer,
            str(outcome.records.total()),
            ", ".join(f"{became} {number}" for became, number in outcome.records.most_common()),
            str(len(outcome.honest_delays)),
            *_percentiles(outcome.honest_delays),
        )
    console.print(table)
    console.print(f"{seconds:.0f} s, with the servers' start")
    for consumer, outcome in outcomes.items():
        for violation in outcome.violations[:20]:
            console.print(f"{consumer}: {violation}")


if __name__ == "__main__":
    cli()
