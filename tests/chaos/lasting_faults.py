"""Faults that last for some seconds and are then undone, for both kinds of campaign."""

import asyncio
from typing import TypeVar

from tests.chaos.injector import FaultImpossible, Injector
from tests.harness.clock import Clock
from tests.harness.small_disk import SmallDisk

FULL_SECONDS = (2.0, 8.0)
WRONG_CLOCK_SECONDS = (5.0, 15.0)
SHIFT_SECONDS = 600

T = TypeVar("T")


async def fill_for_a_while(on: Injector[T], disk: SmallDisk | None) -> None:
    """Fill the disk. Raises: FaultImpossible if there is none."""
    if disk is None:
        raise FaultImpossible("only root can mount a disk for PostgreSQL")
    try:
        # In a thread, so that the proxies go on.
        await asyncio.to_thread(disk.fill)
    finally:
        on.undo_later(disk, disk.free, seconds=on.rng.uniform(*FULL_SECONDS))


def shift_for_a_while(on: Injector[T], clock: Clock | None) -> None:
    """Set the clock forward or back by ten minutes. Raises: FaultImpossible if it cannot be shifted."""
    if clock is None:
        raise FaultImpossible("clocks cannot be shifted on this machine")
    clock.shift(on.rng.choice((-SHIFT_SECONDS, SHIFT_SECONDS)))
    on.undo_later(clock, lambda: clock.shift(0), seconds=on.rng.uniform(*WRONG_CLOCK_SECONDS))
