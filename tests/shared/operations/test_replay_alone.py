"""Dead letters that block no key are replayed and discarded without touching the order of the key they name."""

import pytest

from shared.database import Database
from shared.ids import new_id
from shared.messaging.dead_letters.queries import DeadLetterFilter
from shared.messaging.dead_letters.reason import NOT_BLOCKING, DeadLetterReason
from shared.messaging.envelope import MAX_SEQUENCE, Received
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.discard import DISCARD_PAGE
from tests.harness.builders import received
from tests.harness.rows import Rows
from tests.harness.statements import execute
from tests.shared.effects import CONSUMER, credit_reserved
from tests.shared.operations.blocked_keys import ACTOR, blocked_key, store_as_dead_letter

UNDECODABLE = DeadLetterFilter(reason=DeadLetterReason.UNDECODABLE)
FOREIGN = DeadLetterFilter(reason=DeadLetterReason.FOREIGN)
USERS, ORDERS = "urn:orderly:users", "urn:orderly:orders"
FILL_WITH_FOREIGN = """
    INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
    SELECT :consumer, 'users', 0, 1000000 + n, :key, '{}', '', 'foreign' FROM generate_series(1, :events) AS n
"""


async def replay(dead_letters: DeadLetterOperations, wanted: DeadLetterFilter) -> list[tuple[int, str | None]]:
    """Replay what a filter selects, or everything; return the number of applied events and the error of each."""
    keys = await dead_letters.select_for_replay(wanted, all_keys=wanted.is_empty)
    return [
        (outcome.replay.applied, outcome.replay.error)
        async for outcome in dead_letters.replay(keys, wanted=wanted, actor=ACTOR)
    ]


async def store(database: Database, *events: Received, reason: DeadLetterReason) -> None:
    """Store events as an older version of the consumer did, which could not read them or did not trust their source."""
    for event in events:
        context = event.context if reason is DeadLetterReason.FOREIGN else None
        await store_as_dead_letter(database.sessions, event._replace(context=context), reason=reason)


async def test_a_replay_of_everything_skips_dead_letters_that_block_no_key(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    event = received(credit_reserved(), sequence=1)
    await store(database, event, reason=DeadLetterReason.UNDECODABLE)
    assert await replay(dead_letters, DeadLetterFilter()) == []
    assert (await dead_letters.drain(), await Rows(database.sessions).effects()) == (0, [])


@pytest.mark.parametrize("reason", sorted(NOT_BLOCKING))
async def test_what_the_consumer_still_rejects_is_not_applied(
    dead_letters: DeadLetterOperations, database: Database, reason: DeadLetterReason
) -> None:
    user_id = new_id()
    foreign = received(credit_reserved(user_id), sequence=MAX_SEQUENCE, source=ORDERS)
    bad = foreign if reason is DeadLetterReason.FOREIGN else foreign._replace(headers={}, key=str(user_id))
    errors = {DeadLetterReason.FOREIGN: f"the source is not {USERS}"}
    error = errors.get(reason, "the header ce_specversion is missing")
    await store(database, bad, reason=reason)
    assert await replay(dead_letters, DeadLetterFilter(reason=reason)) == [(0, error)]
    rows = Rows(database.sessions)
    assert (await rows.effects(), await rows.count("inbox_sequence"), await rows.count("inbox")) == ([], 0, 0)
    assert await rows.of("SELECT outcome, detail FROM dead_letter_action") == [("failed", error)]


async def test_what_the_consumer_can_apply_now_is_applied_once_and_in_order(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    user_id = new_id()
    first, second = [received(credit_reserved(user_id), sequence=n) for n in (1, 2)]
    await store(database, second, first, second._replace(offset=10**6), reason=DeadLetterReason.UNDECODABLE)
    passed = "sequence 2 was seen before it"
    assert await replay(dead_letters, UNDECODABLE) == [(1, None), (0, passed), (1, None)]
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), 2)]
    assert await rows.of("SELECT sequence, dead_letters FROM inbox_sequence") == [(2, 0)]
    assert [each.sequence for each in await dead_letters.unresolved(UNDECODABLE)] == [None]


async def test_a_dead_letter_that_blocks_no_key_waits_while_another_blocks_its_key(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    user_id = await blocked_key(database.sessions, events=2)
    await store(database, received(credit_reserved(user_id), sequence=3), reason=DeadLetterReason.UNDECODABLE)
    assert await replay(dead_letters, UNDECODABLE) == [(0, "an earlier dead letter blocks its key")]
    assert await replay(dead_letters, DeadLetterFilter()) == [(2, None)]
    assert await replay(dead_letters, UNDECODABLE) == [(1, None)]
    assert await Rows(database.sessions).effects() == [(str(user_id), n) for n in (1, 2, 3)]


async def test_dead_letters_that_block_no_key_are_discarded_page_by_page(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    key = await blocked_key(database.sessions, events=1)
    await execute(database.sessions, FILL_WITH_FOREIGN, consumer=CONSUMER, key=str(key), events=DISCARD_PAGE + 1)
    selected = await dead_letters.select_for_discard(FOREIGN, ids=[])
    progress: list[int] = []
    done = await dead_letters.discard(selected, actor=ACTOR, note="forged", on_discarded=progress.append)
    assert (done.dead_letters, done.drained, progress) == (selected, 0, [DISCARD_PAGE, DISCARD_PAGE + 1])
    rows = Rows(database.sessions)
    resolutions = "SELECT reason, resolution, count(*) FROM dead_letter GROUP BY 1, 2 ORDER BY 1"
    assert await rows.of(resolutions) == [("foreign", "discarded", DISCARD_PAGE + 1), ("rule_violated", None, 1)]
    assert await rows.of("SELECT dead_letters FROM inbox_sequence") == [(1,)]
    actions = "SELECT actor, action, detail, count(*) FROM dead_letter_action GROUP BY 1, 2, 3"
    assert await rows.of(actions) == [(ACTOR, "discard", "forged", DISCARD_PAGE + 1)]
