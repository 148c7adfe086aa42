"""The invariants find nothing in an undamaged system, and each of them finds its damage."""

from datetime import timedelta

import asyncpg
import pytest

from deploy.audit.databases import Databases, connected
from deploy.audit.findings import Invariant, violated
from deploy.audit.invariants import check, check_once_settled
from tests.deploy.audit.damage import DAMAGES, Damage, unsent_event

AT_REST = {
    *Invariant,
} - {Invariant.EVENT_IN_TOPIC, Invariant.NO_OVERDUE_DELIVERY, Invariant.NO_OVERDUE_JOB}


async def test_an_undamaged_system_has_no_violations(writable: Databases) -> None:
    findings = await check(writable)

    assert {finding.name: list(finding.violations) for finding in findings} == {str(each): [] for each in AT_REST}


async def test_damage_is_found(writable: Databases) -> None:
    # All in the same databases: making new ones for each damage would take minutes.
    assert {damage.name: await _differences(damage, writable) for damage in DAMAGES} == {
        each.name: {} for each in DAMAGES
    }


def test_every_invariant_has_damage_that_it_finds() -> None:
    found = {name for damage in DAMAGES for name in {**damage.found, **(damage.in_production or {})}}
    assert found == {*Invariant} - {Invariant.EVENT_IN_TOPIC}


async def test_work_in_progress_violates_no_invariant_that_holds_at_any_moment(writable: Databases) -> None:
    await writable["orders"].execute("UPDATE customer_order SET status = 'pending' WHERE status = 'confirmed'")
    await writable["orders"].execute(unsent_event(3, "order.snapshot"))
    await writable["orders"].execute("UPDATE event_stream SET sequence = 3")

    assert violated(await check(writable, at_rest=False)) == {}


async def test_a_system_that_does_not_settle_in_time_has_violations(writable: Databases) -> None:
    await writable["orders"].execute(unsent_event(3, "product.updated"))
    await writable["orders"].execute("UPDATE event_stream SET sequence = 3")

    findings = await check_once_settled(writable, within=timedelta(0))

    assert [finding.name for finding in findings if finding.violations] == [Invariant.OUTBOX_EMPTY]


async def test_the_audit_cannot_write(writable: Databases, urls: dict[str, str]) -> None:
    assert writable
    async with connected(urls) as databases:
        for database in databases.values():
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await database.execute("DELETE FROM outbox")


async def _differences(damage: Damage, databases: Databases) -> dict[str, str]:
    """Do the damage, check, undo it. Return by invariant what is found wrongly or not found."""
    transaction = databases[damage.service].transaction()
    await transaction.start()
    await databases[damage.service].execute(damage.sql)
    found = {name: "\n".join(texts) for name, texts in violated(await check(databases)).items()}
    await transaction.rollback()
    return differences(damage.found, found)


def differences(expected: dict[Invariant, str], found: dict[str, str]) -> dict[str, str]:
    """Return by invariant what was found wrongly or not found."""
    wrong = dict(found)
    for invariant, text in expected.items():
        if text in wrong.get(invariant, ""):
            del wrong[invariant]
        else:
            wrong[invariant] = f"{text!r} is not in {wrong.get(invariant, '')!r}"
    return wrong
