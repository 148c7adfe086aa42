"""Operations on a service's dead letters: select, replay, discard; and the drain, which needs no operator."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.database import Sessions
from shared.errors import NotFound, Problem
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.queries import (
    ConsumerKey,
    DeadLetter,
    DeadLetterDetail,
    DeadLetterFilter,
    Replayable,
    blocked_keys,
    blocked_keys_after,
    dead_letters_by_id,
    find_dead_letter,
    list_dead_letters,
    waiting_too_long,
)
from shared.operations.discard import discard_all, discard_one, expire_one
from shared.operations.replay import DRAIN, KeyReplay, due_keys_among, keys_to_drain, replay_key
from shared.operations.replay_alone import replay_alone

MAX_SECONDS_PER_KEY = 5.0
"""Time that the drain spends on a key with many dead letters before it goes on with the other keys."""
NOT_CONSUMED = "this service no longer consumes the topic"


class DeadLetterNotFound(NotFound):
    """There is no such dead letter."""

    code = "dead_letter_not_found"


class NothingSelected(Problem):
    """The selection of dead letters is missing or ambiguous."""

    status = 422
    code = "nothing_selected"


@dataclass(frozen=True)
class KeyOutcome:
    """The outcome of a replay, or of its dry run, for one key, or for one dead letter that blocks none."""

    replayable: Replayable
    replay: KeyReplay


@dataclass(frozen=True)
class Discarded:
    """The dead letters that were discarded, and how many events that they had blocked were applied at once."""

    dead_letters: list[DeadLetter]
    drained: int


@dataclass(frozen=True)
class DeadLetterOperations:
    """Works on one service's dead letters; `subscriptions` holds its handlers, by consumer."""

    sessions: Sessions
    subscriptions: Mapping[str, Subscription]
    max_keys_per_round: int = 100

    async def show(self, dead_letter_id: int) -> DeadLetterDetail:
        """Return one dead letter, resolved or not. Raises: DeadLetterNotFound."""
        async with self.sessions() as session:
            found = await find_dead_letter(session, dead_letter_id)
        if found is None:
            raise _not_found(dead_letter_id)
        return found

    async def unresolved(self, wanted: DeadLetterFilter, *, limit: int | None = None) -> list[DeadLetter]:
        """Return the unresolved dead letters, oldest first, at most `limit`."""
        async with self.sessions() as session:
            return await list_dead_letters(session, wanted=wanted, limit=limit)

    async def select_for_replay(
        self, wanted: DeadLetterFilter, *, all_keys: bool, limit: int | None = None
    ) -> list[Replayable]:
        """Return the keys that a selected dead letter blocks, the longest blocked first, at most `limit`.

        A filter with an id or a reason also selects dead letters that block no key. Raises: NothingSelected for an
        empty filter without `all_keys`.
        """
        if wanted.is_empty and not all_keys:
            raise NothingSelected("Give a filter, or select all.")
        async with self.sessions() as session:
            if wanted.may_select_alone:
                found = await list_dead_letters(session, wanted=wanted, limit=limit)
                if alone := [Replayable(each.consumer_key, 1, each) for each in found if not each.blocks_key]:
                    return alone
            return await blocked_keys(session, wanted=wanted, limit=limit)

    async def pages_for_replay(
        self, wanted: DeadLetterFilter, *, all_keys: bool, limit: int | None
    ) -> AsyncIterator[list[Replayable]]:
        """Yield the keys that have a selected dead letter, in pages: each is selected once the one before is done.

        With a limit there is one page, of the longest blocked keys. Raises: as `select_for_replay`.
        """
        if limit is not None or wanted.may_select_alone:
            yield await self.select_for_replay(wanted, all_keys=all_keys, limit=limit)
            return
        if wanted.is_empty and not all_keys:
            raise NothingSelected("Give a filter, or select all.")
        after: ConsumerKey | None = None
        while True:
            async with self.sessions() as session:
                page = await blocked_keys_after(session, wanted=wanted, after=after, limit=self.max_keys_per_round)
            if not page:
                return
            yield page
            after = page[-1].consumer_key

    async def select_for_discard(
        self, wanted: DeadLetterFilter, *, ids: Sequence[int], limit: int | None = None
    ) -> list[DeadLetter]:
        """Return the unresolved dead letters with these ids, or those the filter selects, at most `limit`.

        Raises: NothingSelected unless exactly one of ids and filter is given; DeadLetterNotFound for an unknown id.
        """
        if bool(ids) != wanted.is_empty:
            raise NothingSelected("Give either ids or a filter.")
        if not ids:
            return await self.unresolved(wanted, limit=limit)
        async with self.sessions() as session:
            found = await dead_letters_by_id(session, ids)
        if missing := [dead_letter_id for dead_letter_id in ids if dead_letter_id not in found]:
            raise _not_found(missing[0])
        return [found[each] for each in dict.fromkeys(ids) if found[each].resolution is None]

    async def replay(
        self,
        keys: Sequence[Replayable],
        *,
        wanted: DeadLetterFilter,
        actor: str,
        deadline: float | None = None,
        on_applied: Callable[[], None] | None = None,
    ) -> AsyncIterator[KeyOutcome]:
        """Replay key after key; a key that fails does not stop the others. Begins no key after the deadline.

        A key stops at a dead letter that is out of order, unless `wanted` names it by its id or reason.
        """
        for key in keys:
            if deadline is not None and time.monotonic() >= deadline:
                return
            subscription = self.subscriptions.get(key.consumer_key.consumer)
            if subscription is None:
                yield KeyOutcome(key, KeyReplay(0, key.first, NOT_CONSUMED))
                continue
            if not key.first.blocks_key:
                yield KeyOutcome(
                    key, await replay_alone(self.sessions, key.first, subscription=subscription, actor=actor)
                )
                continue
            replay = await replay_key(
                self.sessions,
                key.consumer_key,
                subscription=subscription,
                actor=actor,
                is_named=wanted.names,
                deadline=deadline,
                on_applied=on_applied,
            )
            yield KeyOutcome(key, replay)

    async def discard(
        self,
        dead_letters: Sequence[DeadLetter],
        *,
        actor: str,
        note: str,
        on_discarded: Callable[[int], None] | None = None,
    ) -> Discarded:
        """Discard dead letters and apply what only they blocked. Calls `on_discarded` with the number discarded."""
        alone = [dead_letter for dead_letter in dead_letters if not dead_letter.blocks_key]
        discarded = await discard_all(self.sessions, alone, actor=actor, note=note, on_discarded=on_discarded)
        blocking = [dead_letter for dead_letter in dead_letters if dead_letter.blocks_key]
        for done, dead_letter in enumerate(blocking, start=len(alone) + 1):
            if await discard_one(self.sessions, dead_letter, actor=actor, note=note):
                discarded.append(dead_letter)
            if on_discarded is not None:
                on_discarded(done)
        async with self.sessions() as session:
            due = await due_keys_among(session, {dead_letter.consumer_key for dead_letter in blocking})
        replays = [await self._drain_key(key) for key in due if key.consumer in self.subscriptions]
        return Discarded(discarded, sum(replay.applied for replay in replays))

    async def drain(self) -> int:
        """Replay the keys whose first dead letter was blocked only by a resolved one, or is due for a retry.

        Return the number of events applied.
        """
        applied = 0
        while True:
            async with self.sessions() as session:
                due = await keys_to_drain(session, consumers=self.subscriptions.keys(), limit=self.max_keys_per_round)
            replays = [await self._drain_key(key) for key in due]
            applied += sum(replay.applied for replay in replays)
            # Whatever was tried is resolved, or due at a later time.
            if not any(replay.applied or replay.stopped_by for replay in replays):
                return applied

    async def expire(self, *, before: datetime) -> int:
        """Give up the dead letters from before a time that still block a key; return their number.

        Each was left to an operator. The drain then tries what they had blocked.
        """
        expired = 0
        while True:
            async with self.sessions() as session:
                page = await waiting_too_long(
                    session, before=before, consumers=self.subscriptions.keys(), limit=self.max_keys_per_round
                )
            note = f"unresolved since before {before:%Y-%m-%d}"
            outcomes = [await expire_one(self.sessions, dead_letter, note=note) for dead_letter in page]
            expired += sum(outcomes)
            if not any(outcomes):
                return expired

    async def _drain_key(self, key: ConsumerKey) -> KeyReplay:
        return await replay_key(
            self.sessions,
            key,
            subscription=self.subscriptions[key.consumer],
            actor=DRAIN,
            deadline=time.monotonic() + MAX_SECONDS_PER_KEY,
        )


def _not_found(dead_letter_id: int) -> DeadLetterNotFound:
    return DeadLetterNotFound(f"There is no dead letter {dead_letter_id}.")
