"""How soon an event is in Kafka after its commit, at a steady rate: with the relay beside the writer, and apart."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import quantiles

import asyncpg

from shared.database import dsn_of
from tests.bench.figures import Figure
from tests.bench.pacing import RATE, SECONDS, Plan, main
from tests.bench.setting import Round, Setting
from tests.bench.waiting import OUTBOX_IS_EMPTY, RELAY_LEADS, until
from tests.chaos.nursery import Forked

P50_LIMIT_MS = 5.0
P99_LIMIT_MS = 25.0
LEADS_SECONDS = 10.0
END_SECONDS = 60.0
MISSED_SHARE = 0.02
"""So much of the asked rate may be missing: above it, the delay is that of another load."""

BESIDE, APART, BARE = "beside", "apart", "bare"
NAMES = {BESIDE: "relay in the writer's process", APART: "relay in a process of its own"}


class PaceMissed(Exception):
    """The writer did not keep the rate, or an event never came: the delays say nothing."""


@dataclass(frozen=True)
class Delay:
    """In milliseconds."""

    p50: float
    p99: float


@asynccontextmanager
async def delay(setting: Setting) -> AsyncIterator[Round]:
    """Both arrangements, with a producer that has no outbox beside them."""
    plan = Plan(
        roles=frozenset(),
        database_url=await setting.new_database("delay"),
        kafka=setting.ground.kafka,
        topic_prefix=await setting.new_topics("delay"),
        folder=setting.ground.folder,
        name="",
    )
    numbers = count()

    async def once() -> list[Figure]:
        number = next(numbers)
        delays = {
            arrangement: await _delay(arrangement, replace(plan, name=f"{plan.topic_prefix}{arrangement}-{number}"))
            for arrangement in (BESIDE, APART, BARE)
        }
        return [
            Figure(
                bench="relay",
                what=f"commit to Kafka, {percentile}, {RATE} events/s, {NAMES[arrangement]}",
                values=(getattr(delays[arrangement], percentile),),
                unit="ms",
                better="less",
                baseline="bare send to acknowledgement",
                baseline_values=(getattr(delays[BARE], percentile),),
                limit=limit,
            )
            for arrangement in NAMES
            for percentile, limit in (("p50", P50_LIMIT_MS), ("p99", P99_LIMIT_MS))
        ]

    yield [once]


async def _delay(arrangement: str, plan: Plan) -> Delay:
    """Run the arrangement once; the processes leave what they saw in files. Raises: PaceMissed."""
    if arrangement == APART:
        relay = Forked(main, replace(plan, roles=frozenset({"relay"}), name=f"{plan.name}-relay"))
        await _answered(dsn_of(plan.database_url), RELAY_LEADS)
        await _ended(Forked(main, replace(plan, roles=frozenset({"writer"}))))
        await _answered(dsn_of(plan.database_url), OUTBOX_IS_EMPTY)
        await relay.stop()
        return _delay_of(_read(plan.folder / f"{plan.name}.begun"), _read(plan.folder / f"{plan.name}-relay.acked"))
    roles = {BESIDE: {"writer", "relay"}, BARE: {"bare"}}[arrangement]
    await _ended(Forked(main, replace(plan, roles=frozenset(roles))))
    return _delay_of(_read(plan.folder / f"{plan.name}.begun"), _read(plan.folder / f"{plan.name}.acked"))


async def _ended(process: Forked) -> None:
    if not await process.ended(within_seconds=END_SECONDS) or process.exit_status:
        await process.stop()
        raise PaceMissed("the writer's process failed or did not end: its log is in the run's folder")


async def _answered(dsn: str, question: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await until(connection, question, seconds=LEADS_SECONDS)
    finally:
        await connection.close()


def _read(path: Path) -> dict[str, float]:
    times: dict[str, float] = json.loads(path.read_text())
    return times


def _delay_of(begun: Mapping[str, float], acknowledged: Mapping[str, float]) -> Delay:
    """`begun`: when the commit had returned, or the send was called; both by the machine's monotonic clock."""
    if len(begun) < RATE * SECONDS * (1 - MISSED_SHARE):
        raise PaceMissed(f"{len(begun):,} events were counted in {SECONDS} s, not {RATE * SECONDS:,}")
    if missing := begun.keys() - acknowledged.keys():
        raise PaceMissed(f"{len(missing):,} events were never acknowledged")
    return percentiles([1000 * (acknowledged[event] - begun[event]) for event in begun])


def percentiles(milliseconds: Sequence[float]) -> Delay:
    """Of at least two."""
    cuts = quantiles(milliseconds, n=100)
    return Delay(p50=cuts[49], p99=cuts[98])
