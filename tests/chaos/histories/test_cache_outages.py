"""Outages of the cache are found in the log of the orders service, those of this campaign only."""

import time
from pathlib import Path

from tests.chaos.histories.cache_outages import LOGGED, SILENT_SECONDS, CacheOutages
from tests.chaos.histories.observation import running_beside
from tests.harness.waiting import until

LINE = b"2026-11-23 17:30:00 [warning  ] " + LOGGED + b" error=ConnectionError\n"


async def test_an_outage_is_found_when_it_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "orders.log"
    log.write_bytes(LINE)  # of an earlier campaign
    outages = CacheOutages(log, began=time.monotonic() - 100)

    async def is_found() -> bool:
        return bool(outages.found)

    async with running_beside(outages.run()):
        with log.open("ab") as file:
            file.write(b"another line\n" + LINE)
        await until(is_found, what="the outage was found")
    (outage,) = outages.found
    assert outage.meets(100, 101)
    assert outage.ended - outage.started > SILENT_SECONDS


def test_an_outage_may_have_been_at_any_time_since_the_last_look(tmp_path: Path) -> None:
    log = tmp_path / "orders.log"
    outages = CacheOutages(log, began=time.monotonic())
    log.write_bytes(LINE)
    outages.began -= 50
    outages.look()
    (outage,) = outages.found
    assert outage.meets(0, 1)
    assert outage.meets(50, 51)


def test_a_rotated_log_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "orders.log"
    outages = CacheOutages(log, began=time.monotonic())
    outages.look()
    log.write_bytes(b"a long line of the old file\n" * 100)
    outages.look()
    assert outages.found == []
    log.write_bytes(LINE)
    outages.look()
    assert len(outages.found) == 1
