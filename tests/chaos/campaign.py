"""One seed of one workload: work and faults for some seconds, then quiet, then the oracle."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.demo.invariants import Finding
from shared.messaging.topics import create_topics
from tests.chaos.accounts import Workload
from tests.chaos.evidence import Scene
from tests.chaos.faults import FAULTS, Target
from tests.chaos.fleet import Fleet
from tests.chaos.ground import Ground
from tests.chaos.injector import Injector
from tests.chaos.oracle import broken, judge
from tests.chaos.worker import Plan

WARM_UP_SECONDS = 2.0
QUIET_SECONDS = 60.0
SERVERS_PATIENCE_SECONDS = 60.0


@dataclass(kw_only=True)
class Outcome:
    """What a campaign did and found."""

    seed: int
    workload: str
    findings: Sequence[Finding]
    faults: Counter[str] = field(default_factory=Counter)
    events: int = 0
    applied: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    rest_seconds: float | None = None
    """From the end of the last fault to rest, where that was measured."""

    @property
    def is_whole(self) -> bool:
        return not broken(self.findings)


async def run_campaign(
    ground: Ground, workload: Workload, *, seed: int, seconds: float, faults: list[str], every_seconds: float
) -> Outcome:
    """In databases and topics of its own."""
    await when_servers_are_back(ground)
    plan, scene = await _prepared(ground, workload, seed=seed)
    fleet = Fleet(plan)
    injector = Injector(
        Target(ground, fleet, scene.sender_url),
        {name: FAULTS[name] for name in faults if name in FAULTS},
        random.Random(seed),  # noqa: S311 - chance by seed
        every_seconds,
    )
    cuts_before, moves_before = ground.proxy.cuts, ground.leaders_moved
    fleet.start()
    try:
        await asyncio.sleep(WARM_UP_SECONDS)
        injector.begin()
        await asyncio.sleep(seconds)
        await injector.end()
        fleet.wake_all()
        ground.proxy.disarm()
        await when_servers_are_back(ground)
        await fleet.stop("writer")
        outcome = await _judged(scene, seed=seed, workload=workload)
    finally:
        await fleet.stop()
    outcome.faults = injector.counts
    outcome.faults["(commits cut)"] = ground.proxy.cuts - cuts_before
    outcome.faults["(leaders moved)"] = ground.leaders_moved - moves_before
    outcome.faults["(workers restarted)"] = fleet.restarts
    return outcome


async def _prepared(ground: Ground, workload: Workload, *, seed: int) -> tuple[Plan, Scene]:
    """What the workers are to do; and, for the oracle, where: who looks must not be cut, and goes past the proxy."""
    name = f"{workload.name.replace('-', '_')}_{seed}"
    sender, reader, prefix, folder = f"sender_{name}", f"reader_{name}", f"{name}.", ground.folder / name
    folder.mkdir()
    await create_topics(ground.kafka, prefix=prefix)
    plan = Plan(
        name="",
        roles=frozenset(),
        seed=seed,
        sender_url=await ground.new_database(sender),
        reader_url=await ground.new_database(reader),
        kafka=ground.kafka,
        topic_prefix=prefix,
        folder=folder,
        workload=workload,
    )
    scene = Scene(
        sender_url=ground.database_url(sender),
        reader_url=ground.database_url(reader),
        kafka=ground.kafka,
        topic_prefix=prefix,
        folder=folder,
    )
    await scene.prepare()
    return plan, scene


async def _judged(scene: Scene, *, seed: int, workload: Workload) -> Outcome:
    quiet_since = time.monotonic()
    evidence = await scene.evidence(within_seconds=QUIET_SECONDS)
    return Outcome(
        seed=seed,
        workload=workload.name,
        findings=judge(evidence),
        events=sum(len(event_ids) for event_ids in evidence.committed.values()),
        applied=len(evidence.effects),
        dead_letters=len(evidence.dead_letters),
        duplicates=evidence.duplicates,
        rest_seconds=time.monotonic() - quiet_since,
    )


async def when_servers_are_back(ground: Ground) -> None:
    """What a fault took away is given back before quiet is counted."""
    async with asyncio.timeout(SERVERS_PATIENCE_SECONDS):
        for server in ("postgres", *ground.brokers):
            while not await ground.supervisor.children[server].program.ready():  # noqa: ASYNC110 - servers tell nobody
                await asyncio.sleep(0.2)
