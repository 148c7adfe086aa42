"""The demo's invariants find nothing in an undamaged system, and each of them finds its damage."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from deploy.demo.cross_service_invariants import Databases
from deploy.demo.invariants import INVARIANTS, check, check_once_settled, connected
from deploy.local.credentials import SERVICES
from tests.deploy.demo_damage import DAMAGES, UNDAMAGED, Damage, unsent_event
from tests.harness.databases import DatabaseFactory, as_owner


@pytest.fixture
async def undamaged(database_factory: DatabaseFactory) -> AsyncIterator[Databases]:
    """Yield the databases of a small, undamaged system."""
    dsns = {service: as_owner(await database_factory(service)) for service in SERVICES}
    async with connected(dsns) as databases:
        for service, rows in UNDAMAGED.items():
            await databases[service].execute(rows)
        yield databases


async def test_an_undamaged_system_has_no_violations(undamaged: Databases) -> None:
    findings = await check(undamaged)

    assert {finding.name: list(finding.violations) for finding in findings} == {each.name: [] for each in INVARIANTS}


async def test_damage_is_found(undamaged: Databases) -> None:
    # All in the same databases: making new ones for each damage would take minutes.
    assert {damage.name: await _differences(damage, undamaged) for damage in DAMAGES} == {
        each.name: {} for each in DAMAGES
    }


def test_every_invariant_has_damage_that_it_finds() -> None:
    assert {name for damage in DAMAGES for name in damage.found} == {each.name for each in INVARIANTS}


async def test_work_in_progress_violates_no_invariant_that_holds_at_any_moment(undamaged: Databases) -> None:
    await undamaged["orders"].execute("UPDATE customer_order SET status = 'pending' WHERE status = 'confirmed'")
    await undamaged["orders"].execute(unsent_event(3, "order.snapshot"))
    await undamaged["orders"].execute("UPDATE event_stream SET sequence = 3")

    assert [finding for finding in await check(undamaged, at_rest=False) if finding.violations] == []


async def test_a_system_that_does_not_settle_in_time_has_violations(undamaged: Databases) -> None:
    await undamaged["orders"].execute(unsent_event(3, "order.snapshot"))
    await undamaged["orders"].execute("UPDATE event_stream SET sequence = 3")

    findings = await check_once_settled(undamaged, within=timedelta(0))

    assert [finding.name for finding in findings if finding.violations] == ["Every outbox is empty"]


async def _differences(damage: Damage, databases: Databases) -> dict[str, str]:
    """Do the damage, check, undo it. Return by invariant what is found wrongly or not found."""
    transaction = databases[damage.service].transaction()
    await transaction.start()
    await databases[damage.service].execute(damage.sql)
    violated = {each.name: "\n".join(each.violations) for each in await check(databases) if each.violations}
    await transaction.rollback()
    for invariant, violation in damage.found.items():
        if violation in violated.get(invariant, ""):
            del violated[invariant]
        else:
            violated[invariant] = f"{violation!r} is not in {violated.get(invariant, '')!r}"
    return violated
