"""The campaigns of one command: compare the two versions, run a campaign for each seed, and collect the evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.screen import Screen
from tests.chaos.upgrade.campaign import Campaign
from tests.chaos.upgrade.comparison import GoldenEvents, golden_events, migrations_of, new_migrations
from tests.chaos.upgrade.evidence import CampaignRecord, Evidence, VersionRecord, WorkRecord, objections_to
from tests.chaos.upgrade.plants import Plant, planted_version
from tests.chaos.upgrade.versions import Version, check_imports, old_version, this_version

SETTLE_SECONDS = 120.0
"""A mail that was under way when its process died is retried after 30 s, and its events follow."""
PLANTED_SETTLE_SECONDS = 20.0
"""An incompatible version never comes to rest, so its campaign does not wait for long."""
MAX_VIOLATIONS_SHOWN = 8


@dataclass(frozen=True)
class Campaigns:
    """Runs the campaigns of some seeds in folders below `folder`, and prints their outcomes."""

    screen: Screen
    folder: Path
    seeds: range

    async def run(self, ref: str) -> Evidence:
        """Run campaigns from the version `ref` to this one.

        Raises: VersionUnavailable, NotAnUpgrade.
        """
        return await self._run(await self._old(ref), this_version(), plant=None, settle_seconds=SETTLE_SECONDS)

    async def run_plants(self, ref: str, plants: Sequence[Plant]) -> bool:
        """Run campaigns from the version `ref` to planted ones; return whether each had the expected outcome.

        Raises: VersionUnavailable, NotAnUpgrade, PlantFailed.
        """
        old = await self._old(ref)
        outcomes = [await self._run_plant(old, plant) for plant in plants]
        return all(outcomes)

    async def _old(self, ref: str) -> Version:
        with self.screen.step(f"Installing {ref}", f"{ref} is installed"):
            return await old_version(ref, self.folder / "old")

    async def _run_plant(self, old: Version, plant: Plant) -> bool:
        with self.screen.step(f"Planting {plant.name}", f"The planted version {plant.name} is installed"):
            new = await planted_version(plant, self.folder / plant.name)
        settle_seconds = PLANTED_SETTLE_SECONDS if plant.violates else SETTLE_SECONDS
        evidence = await self._run(old, new, plant=plant.name, settle_seconds=settle_seconds)
        if not plant.violates:
            return evidence.has_passed
        violated = [{each.name for each in campaign.findings if each.violations} for campaign in evidence.campaigns]
        missed = [sorted(plant.violates - names) for names in violated if not plant.violates <= names]
        self.screen.note(f"{plant.name}: {f'MISSED: {missed}' if missed else 'caught'}")
        return not missed

    async def _run(self, old: Version, new: Version, *, plant: str | None, settle_seconds: float) -> Evidence:
        started_at = datetime.now(UTC)
        for version in (old, new):
            check_imports(version)
        migrations = new_migrations(migrations_of(old), migrations_of(new), old_ref=old.ref)
        golden = golden_events(old, new)
        revisions = {service: tuple(each.revision for each in found) for service, found in migrations.items()}
        self.screen.note(
            f"From {old.ref} ({old.commit[:12]}) to {plant or new.commit[:12]}; new migrations: {_listed(revisions)}; "
            f"{golden.parsed} golden events parsed; logs in {self.folder}"
        )
        records = []
        for seed in self.seeds:
            records.append(await self._campaign(old, new, seed=seed, golden=golden, settle_seconds=settle_seconds))
            self._show(records[-1])
        return Evidence(
            old=_record(old),
            new=_record(new),
            plant=plant,
            migrations=revisions,
            golden_events=golden.parsed,
            started_at=started_at,
            ended_at=datetime.now(UTC),
            campaigns=tuple(records),
        )

    async def _campaign(
        self, old: Version, new: Version, *, seed: int, golden: GoldenEvents, settle_seconds: float
    ) -> CampaignRecord:
        folder = self.folder / f"{new.folder.name}-{seed}"
        return await Campaign(
            old, new, seed=seed, folder=folder, settle_seconds=settle_seconds, golden_failures=golden.failures
        ).run()

    def _show(self, record: CampaignRecord) -> None:
        work = {name: _summed([getattr(step, name) for step in record.steps]) for name in ("old", "new")}
        objections = objections_to(record)
        self.screen.note(
            f"seed {record.seed}: {'FAILED' if objections else 'passed'} in "
            f"{(record.ended_at - record.started_at).total_seconds():.0f} s; {record.orders} orders, "
            f"{record.journeys} journeys, {sum(record.faults.values())} faults; "
            + "; ".join(f"{name}: {work[name]}" for name in work)
        )
        for objection in objections[:MAX_VIOLATIONS_SHOWN]:
            self.screen.error(objection[:500])


def _record(version: Version) -> VersionRecord:
    return VersionRecord(ref=version.ref, commit=version.commit, is_modified=version.is_modified)


def _summed(work: Sequence[WorkRecord]) -> str:
    totals = {kind: sum(getattr(each, kind) for each in work) for kind in WorkRecord.model_fields}
    return ", ".join(f"{count} {kind}" for kind, count in totals.items())


def _listed(revisions: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{service} {' '.join(found)}" for service, found in revisions.items() if found) or "none"
