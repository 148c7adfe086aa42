"""The injector reports faults that fail by themselves, and undoes what it has broken once."""

import asyncio
import random

import asyncpg
import pytest

from tests.chaos.injector import Fault, Injector
from tests.harness.waiting import until


def injector_of(fault: Fault[None]) -> Injector[None]:
    return Injector(None, {"fault": fault}, random.Random(1), mean_interval_seconds=0.001)  # noqa: S311 - no secret


async def test_a_mistake_of_a_fault_fails_the_campaign() -> None:
    async def misspell(_on: Injector[None]) -> None:
        raise asyncpg.UndefinedColumnError

    injector = injector_of(misspell)
    injector.start()
    await asyncio.sleep(0.05)
    with pytest.raises(ExceptionGroup) as raised:
        await injector.stop()
    assert [type(error) for error in raised.value.exceptions] == [asyncpg.UndefinedColumnError]


async def test_the_error_of_a_lasting_fault_fails_the_campaign_although_it_has_ended_before() -> None:
    async def fail() -> None:
        raise KeyError

    async def begin(on: Injector[None]) -> None:
        on.run_beside(fail())

    injector = injector_of(begin)
    injector.start()
    await asyncio.sleep(0.05)
    with pytest.raises(ExceptionGroup):
        await injector.stop()


async def test_a_fault_of_a_server_that_is_down_is_counted_as_skipped() -> None:
    async def connect(_on: Injector[None]) -> None:
        raise ConnectionRefusedError

    injector = injector_of(connect)

    async def is_skipped() -> bool:
        return injector.effects["fault skipped: ConnectionRefusedError"] > 0

    injector.start()
    await until(is_skipped, what="a fault was skipped")
    await injector.stop()
    assert not injector.counts


async def test_the_log_has_the_target_and_the_end_of_each_fault() -> None:
    async def begin(on: Injector[None]) -> None:
        on.note("orders")
        on.run_beside(asyncio.sleep(0.01))

    async def begin_to_wait(on: Injector[None]) -> None:
        on.note("users from kafka", seconds=5)

    injector = Injector(None, {"lasts": begin, "waits": begin_to_wait}, random.Random(1), 0.001)  # noqa: S311 - no secret

    async def are_injected() -> bool:
        return injector.counts.keys() == {"lasts", "waits"}

    injector.start()
    await until(are_injected, what="both faults were injected")
    await injector.stop()
    lasting = next(fault for fault in injector.log if fault.name == "lasts")
    waiting = next(fault for fault in injector.log if fault.name == "waits")
    assert (lasting.detail, waiting.detail) == ("orders", "users from kafka")
    assert lasting.ended is not None
    assert lasting.ended > lasting.began
    assert waiting.ended == waiting.began + 5


async def test_what_was_broken_twice_is_undone_once_and_late() -> None:
    undone: list[str] = []
    injector = injector_of(lambda _on: asyncio.sleep(0))
    injector.undo_later("disk", lambda: undone.append("first"), seconds=0)
    injector.undo_later("disk", lambda: undone.append("second"), seconds=0.05)
    injector.undo_later("clock", lambda: undone.append("clock"), seconds=0)
    await injector.stop()
    assert undone == ["clock", "second"]
