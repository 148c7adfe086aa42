"""Replaying and discarding many parked events at once, and draining the keys that nothing holds back any more."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from shared.database import Sessions
from shared.errors import NotFound, Refusal
from shared.messaging.parked_events import (
    ParkedEvent,
    ParkedFilter,
    WaitingKey,
    list_parked,
    show_parked,
    waiting_keys,
    with_first_events,
)
from shared.messaging.replay import DRAIN, discard, keys_to_drain, replay_key
from shared.messaging.subscription import Subscription

DISCARD_PAGE = 100
DRAIN_BATCH = 100
NOT_READ = "this service does not read the topic any more"


class ParkedEventNotFound(NotFound):
    """There is no such parked event."""

    code = "parked_event_not_found"


class NothingSelected(Refusal):
    """Say which parked events are meant."""

    status = 422
    code = "nothing_selected"


@dataclass(frozen=True)
class KeyOutcome:
    """What became of one key: how many of its events were applied, and which one stopped it, and why."""

    key: WaitingKey
    applied: int
    stopped_by: ParkedEvent | None = None
    why: str | None = None


@dataclass(frozen=True)
class Discarded:
    """What was given up, and how many events that had stood behind were applied at once."""

    events: list[ParkedEvent]
    drained: int


@dataclass(frozen=True)
class ParkedOperations:
    """What operators do with the parked events of one service; `consumers` apply them."""

    sessions: Sessions
    consumers: Mapping[str, Subscription]

    async def plan_replay(self, wanted: ParkedFilter, *, limit: int | None = None) -> list[WaitingKey]:
        """The keys that a replay would try, oldest first, at the most `limit` of them; nothing changes."""
        async with self.sessions() as session:
            return await with_first_events(session, await waiting_keys(session, wanted=wanted, limit=limit))

    async def replay(
        self,
        keys: Sequence[WaitingKey],
        *,
        actor: str,
        deadline: float | None = None,
        on_applied: Callable[[], None] | None = None,
    ) -> AsyncIterator[KeyOutcome]:
        """Key after key; one that stops does not stop the others. Past the deadline no more keys are begun."""
        for key in keys:
            if deadline is not None and time.monotonic() >= deadline:
                return
            subscription = self.consumers.get(key.consumer)
            if subscription is None:
                yield KeyOutcome(key, 0, key.first, NOT_READ)
                continue
            applied, stopped = await replay_key(
                self.sessions,
                subscription=subscription,
                consumer=key.consumer,
                topic=key.topic,
                key=key.key,
                actor=actor,
                deadline=deadline,
                on_applied=on_applied,
            )
            yield KeyOutcome(key, applied, *(stopped or (None, None)))

    async def find(self, wanted: ParkedFilter, *, limit: int | None = None) -> list[ParkedEvent]:
        """All waiting events that are meant, at the most `limit` of them."""
        found: list[ParkedEvent] = []
        async with self.sessions() as session:
            while limit is None or len(found) < limit:
                page_limit = DISCARD_PAGE if limit is None else min(DISCARD_PAGE, limit - len(found))
                after_id = found[-1].id if found else 0
                page = await list_parked(session, wanted=wanted, after_id=after_id, limit=page_limit)
                found += page
                if len(page) < page_limit:
                    break
        return found

    async def chosen(self, parked_ids: Sequence[int]) -> list[ParkedEvent]:
        """These events, as far as they still wait. Raises: ParkedEventNotFound when one never was."""
        events = []
        async with self.sessions() as session:
            for parked_id in dict.fromkeys(parked_ids):
                parked = await show_parked(session, parked_id)
                if parked is None:
                    raise ParkedEventNotFound(f"There is no parked event {parked_id}.")
                if parked.event.resolution is None:
                    events.append(parked.event)
        return events

    async def discard(
        self, parked_ids: Sequence[int], *, actor: str, reason: str, on_discarded: Callable[[int], None] | None = None
    ) -> Discarded:
        """Give up these events, and apply what only stood behind them. `on_discarded` is told how many are done."""
        events: list[ParkedEvent] = []
        for done, parked_id in enumerate(parked_ids, start=1):
            events += await discard(self.sessions, parked_ids=[parked_id], actor=actor, reason=reason)
            if on_discarded is not None:
                on_discarded(done)
        streams = {(event.consumer, event.topic, event.key) for event in events}
        return Discarded(events, await self.drain(only=streams) if streams else 0)

    async def drain(self, *, only: set[tuple[str, str, str]] | None = None) -> int:
        """Apply the keys whose first waiting event only stood behind a resolved one; how many events that were."""
        applied = 0
        while True:
            async with self.sessions() as session:
                due = await keys_to_drain(session, consumers=self.consumers.keys(), limit=DRAIN_BATCH)
            moved = 0
            for consumer, topic, key in due:
                if only is not None and (consumer, topic, key) not in only:
                    continue
                count, stopped = await replay_key(
                    self.sessions,
                    subscription=self.consumers[consumer],
                    consumer=consumer,
                    topic=topic,
                    key=key,
                    actor=DRAIN,
                )
                applied += count
                moved += count or stopped is not None
            if not moved or len(due) < DRAIN_BATCH:
                return applied
