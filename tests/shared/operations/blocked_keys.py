"""Keys that stand still: their first event was parked, the later ones behind it."""

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
from tests.shared.messaging.scenario import CONSUMER, REFUSED_CENTS, credit_reserved, subscription

CONSUMERS = {CONSUMER: subscription()}


async def key_at_rest(sessions: Sessions, *, events: int = 3, poison: frozenset[int] = frozenset()) -> UUID:
    """A new key whose first event was refused, and the others behind it; those in `poison` are refused again."""
    user_id = new_id()

    def event(sequence: int) -> Event:
        return credit_reserved(user_id, cents=REFUSED_CENTS if sequence in poison else 100)

    await dead_letter_all(sessions, event, events=events, consumer=CONSUMER, handlers=subscription())
    return user_id


async def dead_letter_all(
    sessions: Sessions, event: Callable[[int], Event], *, events: int, consumer: str, handlers: Subscription
) -> None:
    """Park `event(1)` as refused, and apply the next ones, which are parked behind it."""
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
