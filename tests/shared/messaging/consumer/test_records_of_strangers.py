"""Foreign and undecodable records become dead letters that block no key; events of ignored types do nothing."""

from shared.database import Database
from shared.ids import new_id
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.envelope import MAX_SEQUENCE, Received
from tests.harness.builders import received
from tests.harness.executed_statements import executed_statements
from tests.harness.rows import Rows
from tests.shared.effects import (
    applied,
    credit_refused,
    credit_reserved,
)


async def test_a_type_without_a_handler_does_nothing(database: Database) -> None:
    """An ignored event with a huge sequence used to make all later events of its key dead letters."""
    user_id = new_id()
    result = await applied(
        database,
        received(credit_reserved(user_id), sequence=1),
        received(credit_refused(user_id), sequence=MAX_SEQUENCE),
        received(credit_reserved(user_id), sequence=3),
    )
    assert (len(result.applied), result.dead_letters) == (2, [])
    rows = Rows(database.sessions)
    assert await rows.count("inbox") == 2
    assert await rows.of("SELECT sequence FROM inbox_sequence") == [(3,)]


async def test_a_foreign_event_is_a_dead_letter_and_does_not_move_its_keys_position(database: Database) -> None:
    user_id, event_id = new_id(), new_id()
    foreign = received(credit_reserved(user_id), sequence=MAX_SEQUENCE, event_id=event_id, source="urn:orderly:orders")
    own = received(credit_reserved(user_id), sequence=1, event_id=event_id)
    result = await applied(database, foreign, own, received(credit_reserved(user_id), sequence=2))
    assert [one.reason for one in result.dead_letters] == [DeadLetterReason.FOREIGN]
    assert (await applied(database, foreign)).dead_letters == []
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), 1), (str(user_id), 2)]
    assert await rows.dead_letters() == [(str(user_id), MAX_SEQUENCE, "foreign")]
    assert await rows.of("SELECT sequence, dead_letters FROM inbox_sequence") == [(2, 0)]


async def test_a_foreign_event_of_an_ignored_type_does_nothing(database: Database) -> None:
    result = await applied(database, received(credit_refused(new_id()), sequence=1, source="urn:orderly:orders"))
    assert result.dead_letters == []
    assert await Rows(database.sessions).count("inbox_sequence") == 0


async def test_an_undecodable_record_is_one_dead_letter_and_blocks_no_key(database: Database) -> None:
    user_id = new_id()
    undecodable = Received(
        topic="users",
        partition=0,
        offset=11,
        key=str(user_id),
        value=b"\x00\xff",
        headers={},
        context=None,
        error="the header ce_id is missing",
    )
    await applied(database, undecodable, received(credit_reserved(user_id), sequence=1, offset=12))
    await applied(database, undecodable)
    rows = Rows(database.sessions)
    assert await rows.dead_letters() == [(str(user_id), None, "undecodable")]
    assert await rows.effects() == [(str(user_id), 1)]
    assert await rows.of("SELECT sequence, dead_letters FROM inbox_sequence") == [(1, 0)]


async def test_the_dead_letters_of_a_batch_are_stored_by_one_statement(database: Database) -> None:
    foreign = [received(credit_reserved(), sequence=1, source="urn:orderly:orders") for _ in range(50)]
    with executed_statements(database.engine) as statements:
        await applied(database, *foreign)
    assert [statement.split()[0] for statement in statements] == ["SELECT", "INSERT"]
    assert await Rows(database.sessions).count("dead_letter") == 50
