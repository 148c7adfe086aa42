"""The invariants find nothing in an undamaged system, and each of them finds its damage."""

from datetime import timedelta

import asyncpg
import pytest

from deploy.audit.databases import Databases, connected
from deploy.audit.findings import Invariant, violated
from deploy.audit.invariants import check, check_once_settled
from shared.messaging.storage.generation import NUMBER_BITS
from tests.deploy.audit.damage import DAMAGES, Damage, unsent_event
from tests.deploy.audit.undamaged import CONFIRMED, USER

AT_REST = {
    *Invariant,
} - {Invariant.EVENT_IN_TOPIC, Invariant.NO_OVERDUE_DELIVERY, Invariant.NO_OVERDUE_JOB}


async def test_an_undamaged_system_has_no_violations(writable: Databases) -> None:
    findings = await check(writable)

    assert {finding.name: list(finding.violations) for finding in findings} == {str(each): [] for each in AT_REST}


async def test_a_mail_may_wait_for_its_address_to_be_verified(writable: Databases) -> None:
    await writable["notifications"].execute(
        "INSERT INTO recipient (user_id, email, name, locale, time_zone, email_verified, sequence)"
        " VALUES ($1, 'ada@example.org', 'Ada', 'en', 'UTC', false, 1)",
        USER,
    )
    await writable["notifications"].execute(
        "UPDATE delivery SET status = 'deferred', sent_at = NULL, last_error = 'address_unverified'"
        " WHERE channel = 'email'"
    )

    assert [violated(await check(writable, at_rest=at_rest)) for at_rest in (True, False)] == [{}, {}]


async def test_a_mail_with_a_token_is_not_shown_in_the_app_and_may_have_expired(writable: Databases) -> None:
    await writable["notifications"].execute(
        f"""WITH mailed AS (
                INSERT INTO notification (id, user_id, event_id, event_type, category, title, data, in_app, created_at)
                VALUES (uuidv7(), '{USER}', uuidv7(), 'user.password_reset_requested', 'account', '', '{{}}', false,
                        now() - interval '1 hour') RETURNING id
            )
            INSERT INTO delivery (id, notification_id, channel, status, last_error)
            SELECT uuidv7(), id, 'email', 'failed', 'expired' FROM mailed"""  # noqa: S608 - a constant
    )

    assert [violated(await check(writable, at_rest=at_rest)) for at_rest in (True, False)] == [{}, {}]


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


async def test_a_notification_of_an_order_needs_no_known_user(writable: Databases) -> None:
    await writable["users"].execute("TRUNCATE user_account CASCADE")

    found = violated(await check(writable))[Invariant.NOTIFICATION_HAS_SUBJECT]

    assert [text for text in found if "(user.created)" not in text] == []


async def test_consumers_may_know_more_than_a_producer_that_went_back(writable: Databases) -> None:
    last = await writable["users"].fetchval(
        "UPDATE event_stream SET sequence = sequence - 1 WHERE key = $1 RETURNING sequence", USER
    )
    await writable["users"].execute("DELETE FROM outbox_sent WHERE key = $1 AND sequence > $2", USER, last)
    without_generation = violated(await check(writable))

    await writable["users"].execute("INSERT INTO stream_generation VALUES (5, '00000002', 'test', 'restored')")
    with_generation = violated(await check(writable))

    assert Invariant.POSITION_REACHED in without_generation
    assert {Invariant.POSITION_REACHED, Invariant.NO_GAP}.isdisjoint(with_generation)


async def test_a_new_generation_is_no_gap(writable: Databases) -> None:
    await writable["orders"].execute("INSERT INTO stream_generation VALUES (5, '00000002', 'test', 'restored')")
    sequence = (5 << NUMBER_BITS) + 1
    await writable["orders"].execute(unsent_event(sequence, "order.snapshot"))
    await writable["orders"].execute("UPDATE event_stream SET sequence = $1 WHERE key = $2", sequence, CONFIRMED)

    assert Invariant.NO_GAP not in violated(await check(writable))


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
