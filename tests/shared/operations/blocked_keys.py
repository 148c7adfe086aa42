"""Keys that a dead letter blocks: their first event is a dead letter, and the later ones queue behind it."""

from collections.abc import Callable
from uuid import UUID

from shared.database import Sessions
from shared.events.contract import Event
from shared.ids import new_id
from shared.messaging.consumer.batch import apply_batch, store_dead_letter
from shared.messaging.consumer.progress import BatchResult
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import NewDeadLetter
from shared.messaging.envelope import Received
from tests.harness.builders import received
from tests.shared.effects import CONSUMER, REJECTED_CENTS, credit_reserved, subscription

ACTOR = "operator@example.com"
SUBSCRIPTIONS = {CONSUMER: subscription()}


async def blocked_key(sessions: Sessions, *, events: int = 3, rejected: frozenset[int] = frozenset()) -> UUID:
    """Make a new key with `events` dead letters. The handler rejects those with a sequence in `rejected` again."""
    user_id = new_id()

    def event(sequence: int) -> Event:
        return credit_reserved(user_id, cents=REJECTED_CENTS if sequence in rejected else 100)

    await block_key(sessions, event, events=events, consumer=CONSUMER, handlers=subscription())
    return user_id


async def store_as_dead_letter(
    sessions: Sessions,
    event: Received,
    *,
    consumer: str = CONSUMER,
    reason: DeadLetterReason = DeadLetterReason.RULE_VIOLATED,
    error: str = "not wanted",
) -> BatchResult:
    """Store an event as a dead letter, and commit."""
    dead_letter = NewDeadLetter(event, reason, error)
    async with sessions.begin() as session:
        return await store_dead_letter(session, consumer=consumer, topic=event.topic, dead_letter=dead_letter)


async def block_key(
    sessions: Sessions, event: Callable[[int], Event], *, events: int, consumer: str, handlers: Subscription
) -> None:
    """Store `event(1)` as a dead letter, and consume the next ones, which queue behind it."""
    await store_as_dead_letter(sessions, received(event(1), sequence=1), consumer=consumer)
    async with sessions.begin() as session:
        await apply_batch(
            session,
            consumer=consumer,
            subscription=handlers,
            events=[received(event(sequence), sequence=sequence) for sequence in range(2, events + 1)],
        )
