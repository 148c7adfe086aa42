"""Each key's events are applied in order up to its first dead letter, and none after it, whichever of them fail."""

from collections import defaultdict
from collections.abc import Sequence
from enum import Enum
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.events.users import CreditReserved
from shared.messaging.consumer import inbox
from shared.messaging.consumer.progress import BatchProgress, Run
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import NewDeadLetter
from shared.messaging.envelope import Received
from tests.harness.builders import received
from tests.shared.effects import FAILING_CENTS, credit_reserved

KEYS = [UUID(int=number) for number in range(3)]


class Kind(Enum):
    """An event that is applied, one whose handler fails, or one whose data are invalid."""

    GOOD = "good"
    FAILING = "failing"
    INVALID = "invalid"


BATCHES = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(Kind)), max_size=24)


def events_of(batch: Sequence[tuple[UUID, Kind]]) -> list[Received]:
    """Return the events of a batch, with the sequences of their keys."""
    last: dict[UUID, int] = defaultdict(int)
    events = []
    for offset, (key, kind) in enumerate(batch):
        last[key] += 1
        event = received(
            credit_reserved(key, cents=FAILING_CENTS if kind is Kind.FAILING else 100),
            sequence=last[key],
            offset=offset,
        )
        events.append(event._replace(value=b"{}") if kind is Kind.INVALID else event)
    return events


def outcomes_of(events: Sequence[Received], *, takes_batch: bool) -> list[tuple[str, int, bool]]:
    """Follow the steps, each in a savepoint; return key, sequence and whether it was applied, as they came."""
    users = Subscription("users")
    register: Any = users.on_batch if takes_batch else users.on
    register(CreditReserved)(_nothing)
    progress = BatchProgress(users, days=inbox.remembered_days(), known=set(), positions={})
    outcomes = []
    for step in progress.steps(events, savepoints={event.place for event in events}):
        if isinstance(step, Run) and not any(event.amount_cents == FAILING_CENTS for event, _ in step.decoded):
            progress.applied(step)
            outcomes += [(context.key, context.sequence, True) for _, context in step.decoded]
        elif isinstance(step, Run) and len(step.items) > 1:
            progress.failed(step)
        else:
            dead_letter = (
                step if isinstance(step, NewDeadLetter) else NewDeadLetter(step.received[0], DeadLetterReason.RETRYING)
            )
            progress.dead_lettered(dead_letter, stored=set())
            context = dead_letter.received.context
            assert context is not None
            outcomes.append((context.key, context.sequence, False))
    return outcomes


async def _nothing(*_: object) -> None:
    pass


@given(batch=BATCHES, takes_batch=st.booleans())
def test_each_key_is_applied_in_order_up_to_its_first_dead_letter(
    batch: list[tuple[UUID, Kind]], takes_batch: bool
) -> None:
    outcomes = outcomes_of(events_of(batch), takes_batch=takes_batch)
    for key in KEYS:
        kinds = [kind for its_key, kind in batch if its_key == key]
        good = next((number for number, kind in enumerate(kinds) if kind is not Kind.GOOD), len(kinds))
        assert [outcome[1:] for outcome in outcomes if outcome[0] == str(key)] == [
            (number + 1, number < good) for number in range(len(kinds))
        ]
