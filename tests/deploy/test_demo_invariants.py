"""The demo's invariants: silent on a whole system, and each of them finds what it is there for."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from deploy.demo.agreement import Databases
from deploy.demo.invariants import INVARIANTS, SERVICES, check, check_once_settled, connected
from tests.deploy.demo_damage import DAMAGES, WHOLE, Damage, waiting_event
from tests.harness.databases import DatabaseFactory


@pytest.fixture
async def whole(database_factory: DatabaseFactory) -> AsyncIterator[Databases]:
    """The databases of a small system in which everything is in order."""
    dsns = {service: await database_factory(service) for service in SERVICES}
    async with connected(dsns) as databases:
        for service, rows in WHOLE.items():
            await databases[service].execute(rows)
        yield databases


async def test_a_whole_system_has_no_violations(whole: Databases) -> None:
    findings = await check(whole)

    assert {finding.name: list(finding.violations) for finding in findings} == {each.name: [] for each in INVARIANTS}


async def test_damage_is_found(whole: Databases) -> None:
    # One after the other in the same databases: making three for each would take minutes.
    assert {damage.name: await _overlooked(damage, whole) for damage in DAMAGES} == {each.name: {} for each in DAMAGES}


def test_every_invariant_has_damage_that_it_finds() -> None:
    found = [name for damage in DAMAGES for name in damage.found]

    assert [each.name for each in INVARIANTS if not any(name in each.name for name in found)] == []


async def test_what_is_on_its_way_is_no_violation_of_what_must_hold_at_any_moment(whole: Databases) -> None:
    await whole["orders"].execute("UPDATE customer_order SET status = 'pending' WHERE status = 'confirmed'")
    await whole["orders"].execute(waiting_event(2))

    assert [finding for finding in await check(whole, at_rest=False) if finding.violations] == []


async def test_what_does_not_settle_in_time_is_found(whole: Databases) -> None:
    await whole["orders"].execute(waiting_event(2))

    findings = await check_once_settled(whole, within=timedelta(0))

    assert [finding.name for finding in findings if finding.violations] == ["every outbox is empty"]


async def _overlooked(damage: Damage, databases: Databases) -> dict[str, str]:
    """Do the damage, look, undo it. What is found and should not be, or should be and is not, by invariant."""
    transaction = databases[damage.service].transaction()
    await transaction.start()
    await databases[damage.service].execute(damage.sql)
    violated = {each.name: "\n".join(each.violations) for each in await check(databases) if each.violations}
    await transaction.rollback()
    for invariant, violation in damage.found.items():
        (name,) = (each.name for each in INVARIANTS if invariant in each.name)
        if violation in violated.get(name, ""):
            del violated[name]
        else:
            violated[name] = f"{violation!r} is not in {violated.get(name, '')!r}"
    return violated
