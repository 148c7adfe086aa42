"""Tasks of loops: started again after an error, and cancelled if they do not stop in time."""

import asyncio

from structlog.testing import capture_logs

from shared.heartbeat import Heartbeat
from shared.loop_tasks import keep_running, wait_for


async def test_a_failed_loop_is_started_again_until_it_returns() -> None:
    outcomes: list[Exception | None] = [ZeroDivisionError(), OSError(), None]

    async def loop() -> None:
        if error := outcomes.pop(0):
            raise error

    with capture_logs() as logs:
        async with asyncio.timeout(60):
            await keep_running(Heartbeat("relay"), loop, restart_delay_seconds=0)
    assert [(line["event"], line["loop"]) for line in logs] == [("loop_failed", "relay")] * 2
    assert outcomes == []


async def test_a_loop_that_does_not_stop_in_time_is_cancelled() -> None:
    async def never_end() -> None:
        await asyncio.Event().wait()

    endless = asyncio.create_task(never_end())
    with capture_logs() as logs:
        await wait_for(endless, timeout_seconds=0.01)
    assert [line["event"] for line in logs] == ["loop_cancelled"]
    await asyncio.wait({endless}, timeout=5)
    assert endless.cancelled()
