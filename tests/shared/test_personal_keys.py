"""Keys of personal data are cached for a while, and read once for concurrent callers."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from shared.ids import new_id
from shared.personal_keys import MAX_KEYS_PER_REQUEST, PersonalKeys, PersonalKeysUnavailable
from shared.transient_errors import is_transient
from tests.harness.personal_keys import StoredKeys, key_of

ANN, BEN, CLEO = new_id(), new_id(), new_id()


class HeldKeys(StoredKeys):
    """Keys that are returned once the test sets `may_answer`."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def read(self, user_ids: Collection[UUID]) -> Mapping[UUID, bytes]:
        found = await super().read(user_ids)
        self.was_asked.set()
        await self.may_answer.wait()
        return found


async def test_a_key_is_read_once_and_only_missing_ones_again() -> None:
    stored = StoredKeys(erased={CLEO})
    keys = stored.personal_keys()

    assert await keys.of([ANN, CLEO]) == {ANN: key_of(ANN)}
    assert await keys.of([ANN, BEN]) == {ANN: key_of(ANN), BEN: key_of(BEN)}
    assert await keys.of([ANN, BEN]) == {ANN: key_of(ANN), BEN: key_of(BEN)}
    assert stored.reads == [{ANN, CLEO}, {BEN}]


async def test_an_old_key_is_read_again() -> None:
    stored = StoredKeys()
    keys = PersonalKeys(stored.read, max_age=timedelta(0))

    await keys.of([ANN])
    stored.erased.add(ANN)

    assert await keys.of([ANN]) == {}


async def test_concurrent_callers_share_a_request() -> None:
    stored = HeldKeys()
    keys = stored.personal_keys()

    callers = [asyncio.create_task(keys.of(user_ids)) for user_ids in ([ANN], [ANN, BEN], [BEN])]
    await asyncio.sleep(0)
    callers[0].cancel()
    stored.may_answer.set()

    assert await asyncio.gather(*callers[1:]) == [{ANN: key_of(ANN), BEN: key_of(BEN)}, {BEN: key_of(BEN)}]
    assert stored.reads == [{ANN}, {BEN}]


async def test_an_invalidated_key_is_not_cached_even_if_it_is_being_read() -> None:
    stored = HeldKeys()
    keys = stored.personal_keys()
    reading = asyncio.create_task(keys.of([ANN]))
    await stored.was_asked.wait()

    stored.erased.add(ANN)
    keys.invalidate(ANN)
    stored.may_answer.set()

    assert await reading == {ANN: key_of(ANN)}
    assert await keys.of([ANN]) == {}


async def test_an_unreachable_service_is_a_transient_error_and_cached_keys_still_work() -> None:
    stored = StoredKeys()
    keys = stored.personal_keys()
    await keys.of([ANN])
    stored.away = True

    assert await keys.of([ANN]) == {ANN: key_of(ANN)}
    with pytest.raises(PersonalKeysUnavailable) as raised:
        await keys.of([ANN, BEN])
    assert is_transient(raised.value)
    stored.away = False
    assert await keys.of([BEN]) == {BEN: key_of(BEN)}


async def test_the_cache_is_bounded_and_requests_are_too() -> None:
    stored = StoredKeys()
    keys = PersonalKeys(stored.read, max_cached=2)
    await keys.of([ANN])
    await keys.of([BEN])
    await keys.of([CLEO])
    await keys.of([BEN])
    await keys.of([ANN])
    assert stored.reads == [{ANN}, {BEN}, {CLEO}, {ANN}]

    many = {new_id() for _ in range(MAX_KEYS_PER_REQUEST + 1)}
    assert await keys.of(many) == {user_id: key_of(user_id) for user_id in many}
    assert [len(read) for read in stored.reads[4:]] == [MAX_KEYS_PER_REQUEST, 1]
