"""A campaign: the system starts in the old version, changes versions under load, comes to rest, and is judged."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from deploy.audit.findings import Finding
from deploy.demo.catalogue import products_of
from deploy.demo.invoices import invoices_of, read_lines
from deploy.demo.run import Options
from deploy.local.credentials import SERVICES, ensure_credentials
from deploy.local.ports import free_port
from deploy.local.settings import LocalSettings
from tests.chaos.injector import Injector
from tests.chaos.upgrade import evidence
from tests.chaos.upgrade.direct_client import REQUEST_TIMEOUT_SECONDS, DirectClient
from tests.chaos.upgrade.evidence import CampaignRecord, FindingRecord, StepRecord, WorkRecord
from tests.chaos.upgrade.instances import Instances, VersionServices, instance_name
from tests.chaos.upgrade.journeys import Journeys
from tests.chaos.upgrade.load import CONCURRENCY, PacedClient, RunDuringRollout, SystemOfTwoVersions, invoices_of_some
from tests.chaos.upgrade.process_faults import FAULTS, MEAN_INTERVAL_SECONDS
from tests.chaos.upgrade.process_logs import entries, is_excused, unexpected_errors
from tests.chaos.upgrade.rollout import Rollout
from tests.chaos.upgrade.traffic import KINDS, Traffic, Work
from tests.chaos.upgrade.versions import Version, VersionName
from tests.harness.whole_system import WholeSystem, whole_system

LOW_CREDIT_CENTS = 20_000


@dataclass
class Campaign:
    """One seed on two versions, in a folder of its own."""

    old: Version
    new: Version
    seed: int
    folder: Path
    settle_seconds: float
    golden_failures: Sequence[str]
    bugs: list[str] = field(default_factory=list)
    """A sentence for each 500 that a client got from the gateway."""
    errors: list[Exception] = field(default_factory=list)
    """The errors that ended the campaign too early."""

    async def run(self) -> CampaignRecord:
        """Run the campaign. Whatever goes wrong is a violation in its record."""
        started_at = datetime.now(UTC)
        rng = random.Random(self.seed)  # noqa: S311 - reproducible by its seed
        settings = _settings(self.folder)
        services = _services(settings, old=self.old, new=self.new)
        async with AsyncExitStack() as stack:
            system = await stack.enter_async_context(whole_system(services["old"]))
            instances = Instances(system.processes.supervisor, services)
            instances.adopt("old")
            # Before the servers stop, so that the processes can finish their work.
            stack.push_async_callback(instances.stop_all)
            rollout = Rollout(instances, Traffic(instances), rng)
            injector = Injector(instances, FAULTS, random.Random(rng.random()), MEAN_INTERVAL_SECONDS)  # noqa: S311
            direct = DirectClient(instances, random.Random(rng.random()))  # noqa: S311
            journeys = Journeys(direct, system.running.admin_password)
            async with httpx2.AsyncClient(base_url=system.running.gateway_url, timeout=REQUEST_TIMEOUT_SECONDS) as http:
                client = PacedClient(http, timeout_seconds=REQUEST_TIMEOUT_SECONDS, bugs=self.bugs)
                run = self._demo(system, client, rollout=rollout, injector=injector, journeys=journeys)
                findings = await self._carried_out(run, rng)
        logged = list(entries(settings.logs, [instance_name(s, v) for s in SERVICES for v in services]))
        excused = [text for at, text in journeys.stale_reads if is_excused(at, logged)]
        stale = [text for at, text in journeys.stale_reads if not is_excused(at, logged)]
        own = {
            evidence.COMPLETED: [repr(error) for error in self.errors],
            evidence.VERSIONS_WORK: _idle(rollout.traffic.work),
            evidence.GOLDEN_EVENTS: self.golden_failures,
            evidence.ANSWERS: _counted([*self.bugs, *direct.bugs]),
            evidence.CACHED_VALUES: stale,
            evidence.JOURNEYS: journeys.violations,
            evidence.LOGS: unexpected_errors(logged),
        }
        return CampaignRecord(
            seed=self.seed,
            started_at=started_at,
            ended_at=datetime.now(UTC),
            steps=tuple(_step(step.name, step.started_at, step.seconds, step.work) for step in rollout.steps),
            orders=len(run.log.orders),
            journeys=journeys.count,
            faults=injector.counts,
            effects={**rollout.effects, **injector.effects, "stale reads while Valkey was away": len(excused)},
            retries=client.retries,
            findings=tuple(
                FindingRecord(name=name, violations=tuple(violations))
                for name, violations in [*((each.name, each.violations) for each in findings), *own.items()]
            ),
        )

    def _demo(
        self,
        system: WholeSystem,
        client: PacedClient,
        *,
        rollout: Rollout,
        injector: Injector[Instances],
        journeys: Journeys,
    ) -> RunDuringRollout:
        options = Options(
            invoices=0,
            concurrency=CONCURRENCY,
            low_credit_limit_cents=LOW_CREDIT_CENTS,
            settle_seconds=self.settle_seconds,
            kill=None,
        )
        return RunDuringRollout(
            options,
            SystemOfTwoVersions(system.running),
            system.screen,
            client,
            Counter(),
            rollout=rollout,
            injector=injector,
            journeys=journeys,
        )

    async def _carried_out(self, run: RunDuringRollout, rng: random.Random) -> Sequence[Finding]:
        """Carry the run out, and return its findings. An error that ends it is kept."""
        lines = read_lines()
        stock_codes = {product["sku"] for product in products_of(lines)}
        try:
            results = await run.carry_out(invoices_of_some(invoices_of(lines), rng), stock_codes=stock_codes)
        except Exception as error:  # noqa: BLE001 - whatever ends a campaign is a violation; the next one runs
            self.errors += list(_leaves(error))
            return []
        return results.findings


def _settings(folder: Path) -> LocalSettings:
    """Return settings of a system on free ports, with a Kafka of its own: the one that production runs."""
    ports = {name: free_port() for name in LocalSettings.model_fields if name.endswith("_port")}
    own = {"folder": folder, "kafka": "apache", "KAFKA_BOOTSTRAP_SERVERS": None, "audit": "off", "console": "off"}
    return LocalSettings.model_validate({**own, **ports})


def _services(settings: LocalSettings, *, old: Version, new: Version) -> dict[VersionName, VersionServices]:
    versions: dict[VersionName, Version] = {"old": old, "new": new}
    ports = {name: {service: free_port() for service in SERVICES} for name in versions}
    credentials = ensure_credentials(settings.folder / "secrets")
    return {
        name: VersionServices(
            settings=settings,
            credentials=credentials,
            kafka_bootstrap_servers=f"127.0.0.1:{settings.kafka_port}",
            python=str(version.python),
            version=version,
            ports=ports[name],
            addresses={
                service: ",".join(f"http://127.0.0.1:{ports[each][service]}" for each in versions)
                for service in SERVICES
            },
        )
        for name, version in versions.items()
    }


def _idle(work: Work) -> list[str]:
    """Return which work a version did not do: such a campaign proves nothing about it."""
    versions: tuple[VersionName, ...] = ("old", "new")
    return [f"The {version} version: no {kind}" for version in versions for kind in KINDS if work[version, kind] == 0]


def _step(name: str, started_at: datetime, seconds: float, work: Work) -> StepRecord:
    def of(version: VersionName) -> WorkRecord:
        return WorkRecord(**{kind: work[version, kind] for kind in KINDS})

    return StepRecord(name=name, started_at=started_at, seconds=seconds, old=of("old"), new=of("new"))


def _counted(sentences: Sequence[str]) -> list[str]:
    """Return each sentence once, with how often it occurred."""
    return [f"{sentence} ({count} times)" for sentence, count in Counter(sentences).most_common()]


def _leaves(error: Exception) -> Iterator[Exception]:
    """Yield the errors of a group, or the error itself."""
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
