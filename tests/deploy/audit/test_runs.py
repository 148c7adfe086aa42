"""Incremental runs find the same damage, once it is old enough, and read what has changed only."""

# ruff: noqa: S608 - the values are constants of these tests

from datetime import UTC, datetime, timedelta

from deploy.audit.context import Context
from deploy.audit.databases import Databases
from deploy.audit.findings import Invariant, Key, Kind
from deploy.audit.runs import Limits, Outcome, run_full, run_incremental
from deploy.audit.watermarks import State
from shared.ids import new_id
from shared.messaging.storage.generation import NUMBER_BITS
from tests.deploy.audit.damage import DAMAGES, VANISHED, Damage, set_reserved
from tests.deploy.audit.test_invariants import differences
from tests.deploy.audit.undamaged import CONFIRMED, THEN, USER, entry

GRACE = timedelta(minutes=5)


def context_of(databases: Databases, *, in_: timedelta = timedelta(0)) -> Context:
    """Return the context of a run that begins after some time."""
    return Context(databases, datetime.now(UTC) + in_, grace=GRACE)


def found_by(outcome: Outcome) -> dict[Invariant, list[str]]:
    """Return the texts of what was found."""
    found: dict[Invariant, list[str]] = {}
    for violation in outcome.reported:
        found.setdefault(violation.invariant, []).append(violation.text)
    return found


async def test_nothing_is_found_in_an_undamaged_system(writable: Databases) -> None:
    state = State()

    incremental = await run_incremental(context_of(writable), state, Limits())
    again = await run_incremental(context_of(writable), state, Limits())
    full = await run_full(context_of(writable), state)

    assert [each.reported for each in (incremental, again, full)] == [[], [], []]
    assert (state.open, state.found) == ([], [])
    assert (incremental.checked[Kind.EVENT], again.checked[Kind.EVENT], full.checked[Kind.EVENT]) == (6, 0, 6)
    assert (incremental.checked[Kind.ORDER], again.checked[Kind.ORDER]) == (3, 3)


async def test_incremental_runs_find_the_damage(writable: Databases) -> None:
    # All in the same databases, as in the test of the invariants.
    wrong = {damage.name: await _differences(damage, writable) for damage in DAMAGES}

    assert wrong == {damage.name: {} for damage in DAMAGES}


async def _differences(damage: Damage, databases: Databases) -> dict[str, str]:
    transaction = databases[damage.service].transaction()
    await transaction.start()
    await databases[damage.service].execute(damage.sql)
    outcome = await run_incremental(context_of(databases), State(), Limits())
    await transaction.rollback()
    expected = damage.found if damage.in_production is None else damage.in_production
    return differences(expected, {str(name): "\n".join(texts) for name, texts in found_by(outcome).items()})


async def test_events_of_a_restored_database_are_read_although_their_ids_were_read_before(writable: Databases) -> None:
    state = State()
    await run_incremental(context_of(writable), state, Limits())
    today = datetime.now(UTC).date()
    state.watermarks["orders"] = f"{today}/900"
    copied = "event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload, shard, partition"
    await writable["orders"].execute(f"""
        INSERT INTO stream_generation (generation, timeline, actor, note) VALUES (5, '00000002', 'test', 'restored');
        INSERT INTO outbox_sent (day, id, {copied}, "offset", sent_at)
        SELECT day, 3, {copied}, 3, clock_timestamp() FROM outbox_sent WHERE id = 2
    """)

    after = await run_incremental(context_of(writable, in_=2 * GRACE), state, Limits())

    assert after.checked[Kind.EVENT] == 1
    assert (state.watermarks["orders"], state.generations["orders"]) == (f"{today}/3", 5)


async def test_a_young_difference_is_open_until_it_is_old_or_gone(writable: Databases) -> None:
    state = State()
    await writable["orders"].execute("UPDATE customer_order SET status = 'cancelled', updated_at = now()")
    await writable["orders"].execute("DELETE FROM order_timeline; UPDATE product SET reserved = 0")
    await writable["notifications"].execute("DELETE FROM notification WHERE category = 'orders'")

    young = await run_incremental(context_of(writable), state, Limits(part_keys=10))
    opened = list(state.open)
    old = await run_incremental(context_of(writable, in_=GRACE * 2), state, Limits(part_keys=1))
    await writable["users"].execute(
        "UPDATE credit_reservation SET status = 'released', refunded_cents = 0 WHERE status IN ('reserved', 'used')"
    )
    await writable["users"].execute("UPDATE credit_account SET reserved_cents = 0, used_cents = 0")
    await writable["users"].execute(entry("corrected", reserved_delta=-300, used_delta=-200, balances=(0, 0, 1000)))
    settled = await run_incremental(context_of(writable, in_=GRACE * 3), state, Limits(part_keys=1))

    assert young.reported == []
    assert Key(Kind.ORDER, CONFIRMED) in opened
    assert {Invariant.CREDIT_AGREED} == found_by(old).keys()
    assert len(old.reported) == 2
    assert (settled.reported, state.found, state.open) == ([], [], [])


async def test_what_was_found_first_is_remembered(writable: Databases) -> None:
    state = State()
    await writable["users"].execute(set_reserved(301))
    first = await run_incremental(context_of(writable), state, Limits())
    second = await run_incremental(context_of(writable, in_=GRACE), state, Limits())

    assert second.reported == first.reported
    assert state.first_found_at == {first.reported[0].id: first.started_at}


async def test_events_that_are_not_settled_are_read_by_a_later_run(writable: Databases) -> None:
    state = State()
    await writable["orders"].execute("UPDATE outbox_sent SET sent_at = now() WHERE id = 2")

    first = await run_incremental(context_of(writable), state, Limits())
    later = await run_incremental(context_of(writable, in_=GRACE * 2), state, Limits())

    assert (first.checked[Kind.EVENT], later.checked[Kind.EVENT]) == (5, 1)


async def test_a_run_reads_at_most_its_share_of_events_and_goes_on_later(writable: Databases) -> None:
    state, limits = State(), Limits(max_keys=3, part_keys=1)

    runs = [await run_incremental(context_of(writable), state, limits) for _ in range(5)]

    assert [run.checked[Kind.EVENT] for run in runs] == [2, 2, 1, 1, 0]
    assert runs[0].watermark_age_seconds["users"] >= 3_500
    assert runs[-1].watermark_age_seconds == {"users": 0.0, "orders": 0.0, "notifications": 0.0}


async def test_damage_that_no_event_names_is_found_by_a_later_part(writable: Databases) -> None:
    ids = sorted(str(new_id()) for _ in range(30))
    await writable["users"].execute(
        f"""INSERT INTO user_account (id, email, name, locale, time_zone, roles, status, password_hash,
                                      created_at, updated_at, version)
            SELECT id, id || '@example.com', '-', 'en', 'UTC', '{{customer}}', 'active', '-',
                   now() - interval '200 days', {THEN}, 1
            FROM unnest($1::uuid[]) AS u (id)""",
        ids,
    )
    await writable["users"].execute(
        "INSERT INTO credit_account (user_id, limit_cents, reserved_cents, used_cents, currency)"
        " SELECT id, 1000, CASE WHEN id = $2 THEN 7 ELSE 0 END, 0, 'GBP' FROM unnest($1::uuid[]) AS u (id)",
        ids,
        ids[-1],
    )
    await writable["users"].execute(
        """INSERT INTO credit_entry (user_id, kind, reserved_delta_cents, used_delta_cents, limit_delta_cents,
                                     reserved_cents, used_cents, limit_cents, created_at)
           SELECT user_id, 'opened', reserved_cents, 0, 1000, reserved_cents, 0, 1000, now()
           FROM credit_account WHERE user_id = ANY($1::uuid[])""",
        ids,
    )
    state, limits = State(), Limits(part_keys=10)

    runs = [await run_incremental(context_of(writable), state, limits) for _ in range(4)]

    assert [[each.key.value for each in run.reported] for run in runs] == [[], [], [], [ids[-1]]]


async def test_too_many_findings_are_checked_one_after_the_other(writable: Databases) -> None:
    await writable["users"].execute(
        f"""INSERT INTO credit_reservation (order_id, user_id, amount_cents, refunded_cents, currency, status,
                                            created_at, updated_at)
            SELECT uuidv7(), '{USER}', 1, 0, 'GBP', 'reserved', {THEN}, {THEN} FROM generate_series(1, 20);
            {set_reserved(320)}"""
    )
    state, limits = State(), Limits(max_keys=10, part_keys=30)
    first = await run_incremental(context_of(writable), state, limits)
    await writable["users"].execute(set_reserved(300, before=320))
    await writable["users"].execute("DELETE FROM credit_reservation WHERE amount_cents = 1")

    runs = [await run_incremental(context_of(writable), state, limits) for _ in range(4)]

    assert len(first.reported) == 20
    assert [len(run.reported) for run in runs] == [15, 10, 5, 0]


async def test_an_order_whose_event_waits_behind_the_watermark_stays_open(writable: Databases) -> None:
    state = State()
    await writable["orders"].execute(
        f"""INSERT INTO outbox (shard, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at,
                                payload)
            OVERRIDING SYSTEM VALUE
            VALUES (0, 1, uuidv7(), 'orders', '{VANISHED}', 1, 'order.created', '-', '-', now(), '');
            INSERT INTO event_stream (topic, key, sequence, moved_on)
            VALUES ('orders', '{VANISHED}', 1, current_date)"""
    )

    await run_incremental(context_of(writable), state, Limits())

    assert state.open == [Key(Kind.ORDER, VANISHED), Key(Kind.STREAM, f"orders/{VANISHED}")]


async def test_a_key_that_goes_on_in_a_new_generation_has_no_gap(writable: Databases) -> None:
    """A restored orders database has lost the key's third event, and its next ones have much higher numbers."""
    first = (7 << NUMBER_BITS) + 1
    await writable["orders"].execute(
        f"""INSERT INTO outbox_sent (day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at,
                                     payload, shard, partition, "offset", sent_at)
            SELECT (now() AT TIME ZONE 'UTC')::date, 100 + n, uuidv7(), 'orders', '{CONFIRMED}', {first} + n,
                   'order.unknown', '-', '-', {THEN}, '', 0, 0, 100 + n, {THEN}
            FROM generate_series(0, 2) AS n;
            UPDATE event_stream SET sequence = {first} + 2 WHERE key = '{CONFIRMED}'"""
    )
    whole = await run_incremental(context_of(writable), State(), Limits())
    await writable["orders"].execute(f"DELETE FROM outbox_sent WHERE sequence = {first} + 1")
    gap = await run_incremental(context_of(writable), State(), Limits())

    assert whole.reported == []
    assert found_by(gap).keys() == {Invariant.NO_GAP}
