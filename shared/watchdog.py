"""A thread that ends a process which is not live, so that whatever supervises the process starts it again.

Docker's restart policy and the local supervisor react to an exit only. A thread works while the event loop is blocked;
while something holds Python's lock, faulthandler's own thread ends the process.
"""

import asyncio
import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

import structlog
from prometheus_client import Histogram

from shared.heartbeat import Heartbeat

logger = structlog.get_logger(__name__)

EVENT_LOOP_INTERVAL_SECONDS = 0.5
MAX_EVENT_LOOP_AGE_SECONDS = 10.0
"""An event loop that has run nothing for longer than this is stuck."""
CHECK_INTERVAL_SECONDS = 1.0
REPORT_TIMEOUT_SECONDS = 5.0
"""Time to write the log line and the stacks. Nobody may read the output, so the process then ends without them."""
EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h: an internal error."""

EVENT_LOOP_LAG = Histogram(
    "event_loop_lag_seconds",
    "Delay of a timer of the event loop, measured twice a second: time for which other work kept it busy",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class EventLoopMonitor:
    """The event loop's own heartbeat, and its lag."""

    def __init__(self) -> None:
        self.heartbeat = Heartbeat("event_loop", max_age_seconds=MAX_EVENT_LOOP_AGE_SECONDS)

    async def run(self) -> None:
        """Give heartbeats until cancelled."""
        while True:
            self.heartbeat.succeeded()
            began_at = time.monotonic()
            await asyncio.sleep(EVENT_LOOP_INTERVAL_SECONDS)
            EVENT_LOOP_LAG.observe(max(0.0, time.monotonic() - began_at - EVENT_LOOP_INTERVAL_SECONDS))


class Watchdog:
    """Ends the process once loops have been stuck for `limit_seconds` in a row."""

    def __init__(
        self,
        find_stuck: Callable[[], list[str]],
        *,
        limit_seconds: float,
        max_event_loop_age_seconds: float = MAX_EVENT_LOOP_AGE_SECONDS,
    ) -> None:
        """Call `find_stuck` every second, in the thread; it returns the names of the loops that are stuck now."""
        self._find_stuck = find_stuck
        self._limit_seconds = limit_seconds
        self._backstop_seconds = limit_seconds + max_event_loop_age_seconds
        self._main_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread. It ends with the process."""
        self._thread.start()

    def _watch(self) -> None:
        stuck_seconds = 0.0
        while True:
            # If this thread cannot run, nothing renews it, and faulthandler prints all stacks and exits with status 1.
            faulthandler.dump_traceback_later(self._backstop_seconds, exit=True)
            time.sleep(CHECK_INTERVAL_SECONDS)
            stuck = self._stuck()
            # Count checks instead of reading a clock: after SIGSTOP and SIGCONT every heartbeat is old for a moment.
            stuck_seconds = stuck_seconds + CHECK_INTERVAL_SECONDS if stuck else 0.0
            if stuck and stuck_seconds == CHECK_INTERVAL_SECONDS:
                self._report("process_not_live", stuck)
            if stuck_seconds >= self._limit_seconds:
                self._end(stuck)

    def _stuck(self) -> list[str]:
        try:
            return self._find_stuck()
        except Exception:
            # It reads objects that the event loop changes. A mistake there must not end a process that works.
            logger.exception("watchdog_check_failed")
            return []

    def _end(self, stuck: list[str]) -> None:
        self._report("process_ended_by_watchdog", stuck)
        os._exit(EXIT_STATUS)

    def _report(self, event: str, stuck: list[str]) -> None:
        """Log in a thread of its own, because the blocked one may hold the log's lock."""
        reporting = threading.Thread(target=self._write, args=(event, stuck), daemon=True)
        reporting.start()
        reporting.join(REPORT_TIMEOUT_SECONDS)

    def _write(self, event: str, stuck: list[str]) -> None:
        frame = sys._current_frames().get(self._main_thread)  # noqa: SLF001 - the documented way to another thread's stack
        doing = traceback.format_stack(frame)[-1].split("\n")[0].strip() if frame else None
        logger.critical(event, loops=stuck, limit_seconds=self._limit_seconds, main_thread=doing)
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
