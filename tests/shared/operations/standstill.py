"""Keys that stand still: their first event was parked, the later ones behind it."""

from collections.abc import Callable
from uuid import UUID

from shared.database import Sessions
from shared.events.contract import Event
from shared.ids import new_id
from shared.messaging.dead_letter import ParkReason
from shared.messaging.slices import apply_slice, park_event
from shared.messaging.subscription import Subscription
from tests.builders import received
from tests.shared.messaging.scenario import CONSUMER, REFUSED_CENTS, credit_reserved, subscription

CONSUMERS = {CONSUMER: subscription()}


async def key_at_rest(sessions: Sessions, *, events: int = 3, poison: frozenset[int] = frozenset()) -> UUID:
    """A new key whose first event was refused, and the others behind it; those in `poison` are refused again."""
    user_id = new_id()

    def event(sequence: int) -> Event:
        return credit_reserved(user_id, cents=REFUSED_CENTS if sequence in poison else 100)

    await park_all(sessions, event, events=events, consumer=CONSUMER, handlers=subscription())
    return user_id


async def park_all(
    sessions: Sessions, event: Callable[[int], Event], *, events: int, consumer: str, handlers: Subscription
) -> None:
    """Park `event(1)` as refused, and apply the next ones, which are parked behind it."""
    async with sessions.begin() as session:
        await park_event(
            session,
            consumer=consumer,
            topic=handlers.topic,
            event=received(event(1), sequence=1),
            reason=ParkReason.REFUSED,
            error="not wanted",
        )
    async with sessions.begin() as session:
        await apply_slice(
            session,
            consumer=consumer,
            subscription=handlers,
            events=[received(event(sequence), sequence=sequence) for sequence in range(2, events + 1)],
        )
