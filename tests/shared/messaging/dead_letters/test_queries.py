"""Dead letters are found by filters, and with the keys that they block."""

import pytest

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.batch import store_dead_letter
from shared.messaging.dead_letters.queries import (
    ConsumerKey,
    DeadLetterFilter,
    Replayable,
    blocked_keys,
    list_dead_letters,
)
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import NewDeadLetter
from tests.harness.builders import received
from tests.shared.effects import CONSUMER, credit_reserved


async def test_filters_select_by_consumer_key_type_reason_and_id(database: Database) -> None:
    one, other = new_id(), new_id()
    stored = [
        (one, 1, DeadLetterReason.RULE_VIOLATED),
        (one, 2, DeadLetterReason.BLOCKED),
        (other, 1, DeadLetterReason.RULE_VIOLATED),
    ]
    async with database.sessions.begin() as session:
        for user_id, sequence, reason in stored:
            event = received(credit_reserved(user_id), sequence=sequence)
            await store_dead_letter(session, consumer=CONSUMER, topic="users", dead_letter=NewDeadLetter(event, reason))
        event = received(credit_reserved(one), sequence=1)
        dead_letter = NewDeadLetter(event, DeadLetterReason.RULE_VIOLATED)
        await store_dead_letter(session, consumer="another.users", topic="users", dead_letter=dead_letter)
    async with database.sessions() as session:
        everything = await list_dead_letters(session, wanted=DeadLetterFilter(consumer=CONSUMER))
        blocked = await list_dead_letters(session, wanted=DeadLetterFilter(reason=DeadLetterReason.BLOCKED))
        of_key = await list_dead_letters(session, wanted=DeadLetterFilter(key=str(one), consumer=CONSUMER))
        of_all_consumers = await list_dead_letters(session, wanted=DeadLetterFilter())
        oldest = await list_dead_letters(session, wanted=DeadLetterFilter(), limit=1)
        of_other_type = await list_dead_letters(session, wanted=DeadLetterFilter(type="user.created"))
        keys = await blocked_keys(session, wanted=DeadLetterFilter(id=everything[1].id))
    assert [(each.key, each.sequence) for each in everything] == [(str(one), 1), (str(one), 2), (str(other), 1)]
    assert [each.consumer for each in of_all_consumers] == [CONSUMER, CONSUMER, CONSUMER, "another.users"]
    assert (blocked, of_key, oldest, of_other_type) == ([everything[1]], everything[:2], [everything[0]], [])
    assert keys == [Replayable(ConsumerKey(CONSUMER, "users", str(one)), 2, everything[0])]


@pytest.mark.parametrize("reason", list(DeadLetterReason))
def test_every_reason_has_a_stable_name(reason: DeadLetterReason) -> None:
    assert reason.value == reason.name.lower()
