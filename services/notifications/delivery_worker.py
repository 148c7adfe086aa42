"""The loop that sends deliveries: it records the outcomes of attempts and claims due deliveries in one transaction.

Claims and outcomes are durable: the transaction commits before an attempt begins, and no transaction is open while a
message is sent. After a crash between sending and recording the message is sent again, with the same id.
"""

import asyncio
import time
from collections.abc import Sequence

import asyncpg
import structlog

from services.notifications.channels import (
    MAX_CONCURRENT_RETRIES,
    MAX_CONCURRENT_SENDS,
    Attempt,
    Channels,
    Receipt,
    SendFailed,
)
from services.notifications.deliveries import (
    IS_DUE,
    WORKER,
    Claim,
    Outcome,
    claim,
    outcome_of,
    record_outcomes,
)
from services.notifications.delivery_log import logging_of, report, report_failure, timing
from services.notifications.delivery_spans import attempt_span, batch_span
from services.notifications.retries import RetryPolicy
from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.heartbeat import Heartbeat
from shared.messaging.failpoints import failpoint
from shared.telemetry import fail
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)

POLL_INTERVAL_SECONDS = 1.0
"""Upper bound of a due delivery's wait if its wake-up was lost, and of a retry's delay beyond its time."""
LINGER_SECONDS = 0.02
"""Time for which a finished attempt waits for others, to be recorded with them. A higher value saves commits; the next
deliveries are claimed later, and a crash repeats more mails."""
INITIAL_RETRY_DELAY_SECONDS = 0.2
"""Delay before the first retry after an error of the database; doubles each time."""
MAX_RETRY_DELAY_SECONDS = 5.0
STOP_TIMEOUT_SECONDS = 8.0
"""Time for the attempts to end after `stop`. Then they are cancelled, and made again by another process."""


class DeliveryWorker:
    """Sends the deliveries of these channels. Several processes may run one."""

    name = WORKER

    def __init__(self, channels: Channels, *, dsn: str, sessions: Sessions, retry_policy: RetryPolicy) -> None:
        self._channels = channels
        self._dsn = dsn
        self._sessions = sessions
        self._retry_policy = retry_policy
        self._changed = asyncio.Event()
        self._may_be_due = False
        self._sending: dict[asyncio.Task[None], Attempt] = {}
        self._reserved_slots = 0
        self._finished: list[Outcome] = []
        self._stopped_at: float | None = None
        self._retry_delay_seconds = INITIAL_RETRY_DELAY_SECONDS
        self.heartbeat = Heartbeat(WORKER)

    def reserve_slots(self, wanted: int) -> int:
        """Reserve slots for the new deliveries of a transaction that has not committed; return how many.

        There are none while other deliveries may be due: new ones queue behind them.
        """
        return 0 if self._may_be_due else self._reserve_slots(wanted)

    def release_slots(self, slots: int) -> None:
        """Release reserved slots, and claim due deliveries that may be waiting for them."""
        self._reserved_slots -= slots
        if self._may_be_due:
            self._changed.set()

    def begin(self, attempts: Sequence[Attempt], *, reserved_slots: int = 0) -> None:
        """Make attempts that are stored as begun. A stopped worker leaves them to others, after their time-out."""
        self._reserved_slots -= reserved_slots
        if self._stopped_at is not None:
            return
        if len(attempts) < reserved_slots and self._may_be_due:
            self._changed.set()
        if attempts:
            failpoint("delivery.begun")
        for attempt in attempts:
            task = asyncio.create_task(self._make(attempt))
            self._sending[task] = attempt
            task.add_done_callback(self._ended)

    def wake(self) -> None:
        """Claim due deliveries now instead of at the next poll."""
        self._may_be_due = True
        self._changed.set()

    def stop(self) -> None:
        """Claim no more deliveries; `run` ends once the outcomes of the current attempts are recorded."""
        self._stopped_at = time.monotonic()
        self._changed.set()

    async def run(self) -> None:
        """Send deliveries until `stop`. Errors of the database are retried without limit, with backoff."""
        try:
            while not self._has_ended():
                try:
                    await self._connect_and_work()
                except Exception as error:
                    if not is_transient(error):
                        raise
                    logger.warning("delivery_worker_interrupted", error=describe_error(error))
                    self.heartbeat.failed()
                    await asyncio.sleep(self._retry_delay_seconds)
                    self._retry_delay_seconds = min(self._retry_delay_seconds * 2, MAX_RETRY_DELAY_SECONDS)
        finally:
            if self._stopped_at is not None:
                await self._cancel_attempts()

    async def _connect_and_work(self) -> None:
        """Work while the connection lasts that listens for wake-ups of other processes."""
        connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=15)
        try:
            await connection.add_listener(self.name, lambda *_: self.wake())
            await self._work(connection)
        finally:
            connection.terminate()

    async def _work(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        # Wake-ups were missed before the connection listened.
        self.wake()
        poll_at = time.monotonic() + POLL_INTERVAL_SECONDS
        while not self._has_ended():
            await self._wait_for_change(seconds=poll_at - time.monotonic())
            self._changed.clear()
            if poll_at <= time.monotonic():
                poll_at = time.monotonic() + POLL_INTERVAL_SECONDS
                # By the clock, because finished attempts are changes too. Cheaper than a claim that finds nothing.
                if self._free_slots() > 0:
                    self._may_be_due |= bool(await connection.fetchval(IS_DUE, list(self._channels)))
            if self._finished or (self._may_be_due and self._free_slots() > 0):
                await self._record_and_claim()
            self.heartbeat.succeeded()
            self._retry_delay_seconds = INITIAL_RETRY_DELAY_SECONDS

    async def _record_and_claim(self) -> None:
        """Record the finished attempts and begin new ones in one transaction. Errors of it lose no outcome."""
        finished = list(self._finished)
        # Reserved, because new mails of this process take slots while the transaction runs.
        slots = self._reserve_slots(MAX_CONCURRENT_SENDS) if self._may_be_due else 0
        max_retries = min(slots, self._free_slots_for_retries())
        if slots:
            # Wake-ups from here on concern deliveries that the claim below may not see.
            self._may_be_due = False
        try:
            recorded, claimed = await self._in_transaction(finished, limit=slots, max_retries=max_retries)
        except BaseException:
            self._may_be_due |= slots > 0
            self.release_slots(slots)
            raise
        del self._finished[: len(finished)]
        if recorded:
            failpoint("delivery.recorded")
        for outcome in recorded:
            report(outcome)
        for attempt in claimed.interrupted:
            report_failure(attempt, reason="interrupted")
        self.begin(claimed.attempts, reserved_slots=slots)
        if slots:
            self._look_for_more(claimed, slots=slots, max_retries=max_retries)

    def _look_for_more(self, claimed: Claim, *, slots: int, max_retries: int) -> None:
        """Claim more deliveries, now or when a slot is free, if this claim has found as many as it looked for."""
        is_full = claimed.found == slots
        first_attempts = sum(attempt.number == 1 for attempt in claimed.attempts)
        self._may_be_due |= is_full or claimed.found - first_attempts >= max_retries
        # An attempt that ends is a change. The other deliveries that were found begin none.
        if (is_full and self._free_slots() > 0) or claimed.found > len(claimed.attempts):
            self._changed.set()

    async def _in_transaction(
        self, finished: Sequence[Outcome], *, limit: int, max_retries: int
    ) -> tuple[list[Outcome], Claim]:
        """Record outcomes and claim up to `limit` deliveries; return what was recorded and claimed."""
        recorded, claimed = list[Outcome](), Claim([], [])
        with batch_span(finished):
            async with self._sessions.begin() as session:
                if finished:
                    recorded = await record_outcomes(session, finished, retry_policy=self._retry_policy)
                if limit:
                    claimed = await claim(
                        session,
                        channels=self._channels,
                        limit=limit,
                        max_retries=max_retries,
                        retry_policy=self._retry_policy,
                    )
        return recorded, claimed

    def _reserve_slots(self, wanted: int) -> int:
        slots = max(0, min(wanted, self._free_slots()))
        self._reserved_slots += slots
        return slots

    def _free_slots(self) -> int:
        """Return how many attempts may begin. A begun attempt never waits: its time-out has begun."""
        return MAX_CONCURRENT_SENDS - len(self._sending) - self._reserved_slots if self._stopped_at is None else 0

    def _free_slots_for_retries(self) -> int:
        retries = sum(attempt.number > 1 for attempt in self._sending.values())
        return max(0, MAX_CONCURRENT_RETRIES - retries)

    async def _make(self, attempt: Attempt) -> None:
        with logging_of(attempt), attempt_span(attempt) as attempt_made, timing(attempt):
            result = await self._send(attempt)
            if isinstance(result, SendFailed):
                fail(attempt_made, result.code)
        if isinstance(result, Receipt):
            failpoint("delivery.sent")
        self._finished.append(outcome_of(attempt, result, retry_policy=self._retry_policy))

    async def _send(self, attempt: Attempt) -> Receipt | SendFailed:
        """Send a message within the time of the attempt's lease. Later another process may send it too."""
        seconds = attempt.deadline - time.monotonic()
        if seconds <= 0:
            # The commit that began it took too long, or the process was suspended.
            return SendFailed("timed_out")
        try:
            async with asyncio.timeout(seconds):
                return await self._channels[attempt.channel](attempt)
        except SendFailed as error:
            return error
        except TimeoutError:
            return SendFailed("timed_out")
        except Exception:
            # A bug of ours, such as a template that lacks a value. It counts as an attempt, so that retries end.
            logger.exception("delivery_attempt_crashed")
            return SendFailed("internal_error")

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        if self._sending:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._changed.set)
        else:
            self._changed.set()

    def _has_ended(self) -> bool:
        """Return whether the loop was stopped and has nothing left to do, or no time left to do it."""
        if self._stopped_at is None:
            return False
        is_late = time.monotonic() - self._stopped_at > STOP_TIMEOUT_SECONDS
        return is_late or not (self._sending or self._finished)

    async def _cancel_attempts(self) -> None:
        for task in self._sending:
            task.cancel()
        if late := await asyncio.gather(*self._sending, return_exceptions=True):
            logger.warning("delivery_attempts_cancelled", attempts=len(late))

    async def _wait_for_change(self, *, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return
