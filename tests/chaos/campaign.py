"""A campaign on small services: work and faults for some seconds, then a settling time, then the oracle."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from deploy.audit.findings import Finding
from shared.messaging.topics import create_topics
from tests.chaos.accounts import Workload
from tests.chaos.environment import Environment
from tests.chaos.faults import FAULTS, Target
from tests.chaos.history_page.record import CampaignRecord
from tests.chaos.hostile_producer import HostileProducer
from tests.chaos.injector import Injector
from tests.chaos.observer import observe
from tests.chaos.oracle import check, violated
from tests.chaos.servers import CampaignServers
from tests.chaos.worker import Plan
from tests.chaos.worker_pool import WorkerPool

WARM_UP_SECONDS = 2.0
SETTLE_TIMEOUT_SECONDS = 60.0


@dataclass(kw_only=True)
class CampaignResult:
    """The findings of a campaign, and the counts that show what it did."""

    seed: int
    workload: str
    findings: Sequence[Finding]
    faults: Counter[str] = field(default_factory=Counter)
    """The count of each fault that was injected."""
    effects: Counter[str] = field(default_factory=Counter)
    """The counts of what the faults caused, such as restarted workers."""
    events: int = 0
    applied: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    settled_after_seconds: float | None = None
    """Time from the end of the writers until everything was observed; None if it was not measured."""

    @property
    def passed(self) -> bool:
        """Return whether every invariant holds."""
        return not violated(self.findings)


async def run_campaign(
    servers: CampaignServers,
    workload: Workload,
    *,
    seed: int,
    seconds: float,
    faults: Sequence[str],
    mean_interval_seconds: float,
    record: CampaignRecord,
) -> CampaignResult:
    """Run a campaign in databases and topics of its own."""
    processes = servers.supervised.processes
    await processes.wait_until_ready()
    environment = await _create_environment(servers, f"{workload.name.replace('-', '_')}_{seed}")
    workers = WorkerPool(_plan(servers, environment, workload, seed=seed))
    hostile = HostileProducer(environment.connection)
    injector = Injector(
        Target(servers, workers, environment.producer_url, environment.consumer_url, hostile),
        {name: FAULTS[name] for name in faults if name in FAULTS},
        random.Random(seed),  # noqa: S311 - reproducible by its seed
        mean_interval_seconds,
    )
    record.faults, record.has_own_databases = injector.log, True
    record.databases = {"producer": environment.producer_url, "consumer": environment.consumer_url}
    cuts_before, leader_changes_before = servers.proxy.cuts, servers.leaders.changes
    workers.start()
    try:
        await asyncio.sleep(WARM_UP_SECONDS)
        injector.start()
        await asyncio.sleep(seconds)
        await injector.stop()
        workers.resume_all()
        servers.proxy.disarm()
        await processes.wait_until_ready()
        await workers.stop("writer")
        result = await _check(environment, hostile, seed=seed, workload=workload)
    finally:
        await workers.stop()
    result.faults = injector.counts
    result.effects = Counter(
        {
            "commits cut": servers.proxy.cuts - cuts_before,
            "leaders changed": servers.leaders.changes - leader_changes_before,
            "workers restarted": workers.restarts,
        }
    )
    result.effects.update(injector.effects)
    return result


async def _create_environment(servers: CampaignServers, name: str) -> Environment:
    """Create databases, topics and a folder. The URLs are direct: the observer must not be cut."""
    environment = Environment(
        producer_url=await servers.supervised.create_database(f"producer_{name}"),
        consumer_url=await servers.supervised.create_database(f"consumer_{name}"),
        kafka=servers.supervised.kafka,
        topic_prefix=f"{name}.",
        folder=servers.supervised.folder / name,
    )
    environment.folder.mkdir()
    await create_topics(environment.connection)
    await environment.create_tables()
    return environment


def _plan(servers: CampaignServers, environment: Environment, workload: Workload, *, seed: int) -> Plan:
    proxied = replace(
        environment,
        producer_url=servers.proxied(environment.producer_url),
        consumer_url=servers.proxied(environment.consumer_url),
    )
    return Plan(name="", roles=frozenset(), seed=seed, environment=proxied, workload=workload)


async def _check(
    environment: Environment, hostile: HostileProducer, *, seed: int, workload: Workload
) -> CampaignResult:
    settling_since = time.monotonic()
    observed = await observe(environment, within_seconds=SETTLE_TIMEOUT_SECONDS, is_hostile=hostile.has_sent)
    return CampaignResult(
        seed=seed,
        workload=workload.name,
        findings=check(observed),
        events=sum(len(event_ids) for event_ids in observed.committed.values()),
        applied=len(observed.effects),
        dead_letters=len(observed.dead_letters),
        duplicates=observed.duplicates,
        settled_after_seconds=time.monotonic() - settling_since,
    )
