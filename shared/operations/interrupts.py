"""Ctrl-C and SIGTERM in commands: cancel the work and let its clean-up finish."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The work was cancelled by a signal. `exit_status` is what a shell would report: 130 for Ctrl-C."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.exit_status = 128 + number


async def cancel_on_signal(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and cancel it at every SIGINT and SIGTERM. Raises: Interrupted.

    Handlers are set even where the process was started with SIGINT ignored, as a shell without job control starts its
    background processes: Python would leave it ignored. A handler for SIGTERM also matters to the first process of a
    container, for which the kernel ignores signals without one.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    received: list[signal.Signals] = []

    def cancel(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise Interrupted(received[0]) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even if the caller is cancelled meanwhile, as by a second Ctrl-C."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
