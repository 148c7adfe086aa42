"""Keys that a dead letter blocks: their first event is a dead letter, and the later ones queue behind it."""

from collections.abc import Callable
from uuid import UUID

from shared.database import Sessions
from shared.events.contract import Event
from shared.ids import new_id
from shared.messaging.consumer.batch import apply_batch, store_dead_letter
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import NewDeadLetter
from tests.harness.builders import received
from tests.shared.effects import CONSUMER, REJECTED_CENTS, credit_reserved, subscription

ACTOR = "operator@example.com"
CONSUMERS = {CONSUMER: subscription()}


async def blocked_key(sessions: Sessions, *, events: int = 3, rejected: frozenset[int] = frozenset()) -> UUID:
    """Make a new key with `events` dead letters. The handler rejects those with a sequence in `rejected` again."""
    user_id = new_id()

    def event(sequence: int) -> Event:
        return credit_reserved(user_id, cents=REJECTED_CENTS if sequence in rejected else 100)

    await block_key(sessions, event, events=events, consumer=CONSUMER, handlers=subscription())
    return user_id


async def block_key(
    sessions: Sessions, event: Callable[[int], Event], *, events: int, consumer: str, handlers: Subscription
) -> None:
    """Store `event(1)` as a dead letter, and consume the next ones, which queue behind it."""
    async with sessions.begin() as session:
        await store_dead_letter(
            session,
            consumer=consumer,
            topic=handlers.topic,
            dead_letter=NewDeadLetter(received(event(1), sequence=1), DeadLetterReason.RULE_VIOLATED, "not wanted"),
        )
    async with sessions.begin() as session:
        await apply_batch(
            session,
            consumer=consumer,
            subscription=handlers,
            events=[received(event(sequence), sequence=sequence) for sequence in range(2, events + 1)],
        )
