"""The queue of deliveries: due ones are claimed, each for one attempt, and the outcomes of attempts are recorded."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, Protocol, cast

from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.channels import Attempt, Receipt, SendFailed
from services.notifications.retries import MAX_DOUBLINGS, RetryPolicy
from services.notifications.statuses import ADDRESS_UNVERIFIED
from shared.driver_statements import DriverStatement, fetch
from shared.events.notifications import NotificationFailed, NotificationSent
from shared.loops import local_loop
from shared.messaging.outbox.outbox import record
from shared.telemetry import continued_trace

WORKER = "deliveries"
"""Name of the loop that sends deliveries. Wake it in a transaction that makes deliveries due."""
LEASE = timedelta(seconds=30)
"""Time for which an attempt holds its delivery, by the database's clock. Then, without an outcome, it counts as
interrupted, and the delivery is due again. Retries hold it for longer: see `_CLAIM`."""
LEASE_MARGIN = timedelta(seconds=3)
"""Part of the lease that an attempt leaves unused: its cancellation takes a moment, and the clocks of the process and
the database may run at different speeds."""

IS_DUE = """
    SELECT EXISTS (SELECT FROM delivery WHERE status = 'queued' AND next_attempt_at <= now() AND channel = ANY($1))
    OR EXISTS (
        SELECT FROM delivery
        WHERE status IN ('sending', 'retrying') AND next_attempt_at <= now() AND channel = ANY($1)
    )
"""
"""Whether `claim` would find something, for asyncpg. The parameter has the channels."""

# Workers skip each other's rows. An attempt counts from here on, whatever happens to the process that makes it. A
# delivery that is due while it is `sending` was interrupted: whether that sent the message is unknown.
# A retry's lease is at least as long as the delay before it was, although the attempt itself ends after LEASE: a mail
# that kills its process does so ever more rarely.
# A recipient that has gone by hand, or whose address is not verified any more, defers the delivery: else this would
# find it each time. A sealed mail has its address itself.
_CLAIM = DriverStatement(f"""
    WITH due_again AS (
        SELECT id, notification_id,
               status = 'sending' AND first_due_at <= now() - CAST(:retry_period AS interval) AS is_over
        FROM delivery
        WHERE status IN ('sending', 'retrying') AND next_attempt_at <= now()
        AND channel = ANY(CAST(:channels AS text[]))
        ORDER BY next_attempt_at LIMIT :max_retries FOR UPDATE SKIP LOCKED
    ), due_first AS (
        SELECT id, notification_id, false AS is_over FROM delivery
        WHERE status = 'queued' AND next_attempt_at <= now() AND channel = ANY(CAST(:channels AS text[]))
        ORDER BY next_attempt_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT * FROM due_again UNION ALL SELECT * FROM due_first LIMIT :limit
    )
    UPDATE delivery d SET
        status = CASE WHEN a.is_missing THEN 'deferred' WHEN due.is_over THEN 'failed' ELSE 'sending' END,
        attempts = d.attempts + CAST(NOT a.is_missing AND NOT due.is_over AS int),
        next_attempt_at = CASE WHEN NOT a.is_missing AND NOT due.is_over THEN clock_timestamp() + greatest(
            CAST(:lease AS interval),
            CASE WHEN d.attempts > d.earlier_attempts THEN least(
                CAST(:initial_delay AS interval) * 2 ^ least(d.attempts - d.earlier_attempts - 1, :max_doublings),
                CAST(:max_delay AS interval)
            ) END
        ) END,
        last_error = CASE
            WHEN a.is_missing AND r.user_id IS NOT NULL THEN '{ADDRESS_UNVERIFIED}'
            WHEN d.status = 'sending' THEN 'interrupted'
            ELSE d.last_error
        END
    FROM due JOIN notification n ON n.id = due.notification_id LEFT JOIN recipient r ON r.user_id = n.user_id
    CROSS JOIN LATERAL (SELECT n.sealed IS NULL AND r.email_verified IS NOT TRUE AS is_missing) a
    WHERE d.id = due.id
    RETURNING a.is_missing, due.is_over, d.id AS delivery_id, d.channel, d.attempts AS number,
              d.attempts - d.earlier_attempts AS tries, d.traceparent, n.id AS notification_id, n.user_id, n.event_id,
              n.event_type, n.category, n.data, coalesce(r.email, '') AS email, coalesce(r.name, '') AS name,
              coalesce(n.locale, r.locale) AS locale, n.sealed, n.expires_at
""")  # noqa: S608 - a constant

# A failure counts if the attempt is still the delivery's last one. A success also counts after that, unless another
# attempt has succeeded too: the message has arrived, and need not be sent again. Only failed attempts get a row of
# their own: the delivery's row records the one that succeeded.
_RECORD = DriverStatement("""
    WITH recorded AS (
        UPDATE delivery d SET
            status = CASE
                WHEN o.status = 'retrying' AND d.first_due_at <= now() - CAST(:retry_period AS interval) THEN 'failed'
                ELSE o.status
            END,
            sent_at = CASE WHEN o.status = 'sent' THEN now() END,
            next_attempt_at = CASE
                WHEN d.first_due_at > now() - CAST(:retry_period AS interval) THEN now() + o.retry_delay
            END,
            last_error = o.error,
            provider = o.provider,
            provider_message_id = o.provider_message_id
        FROM unnest(
            CAST(:positions AS int[]), CAST(:delivery_ids AS uuid[]), CAST(:numbers AS int[]),
            CAST(:statuses AS text[]), CAST(:retry_delays AS interval[]), CAST(:errors AS text[]),
            CAST(:reply_codes AS int[]), CAST(:providers AS text[]), CAST(:provider_message_ids AS text[])
        ) AS o (
            position, delivery_id, number, status, retry_delay, error, reply_code, provider, provider_message_id
        )
        WHERE d.id = o.delivery_id AND (
            (d.status = 'sending' AND d.attempts = o.number)
            OR (o.status = 'sent' AND d.status IN ('sending', 'retrying', 'failed'))
        )
        RETURNING o.position, d.status, d.id, o.number, o.error, o.reply_code
    ), failed AS (
        INSERT INTO delivery_attempt (delivery_id, number, error, reply_code)
        SELECT id, number, error, reply_code FROM recorded WHERE error IS NOT NULL
    )
    SELECT position, status FROM recorded
""")

_CLEAR_SEALED = DriverStatement("""
    UPDATE notification SET sealed = NULL WHERE id = ANY(CAST(:notification_ids AS uuid[]))
""")


class LocalWorker(Protocol):
    """The loop that sends deliveries, if it runs in this process."""

    def reserve_slots(self, wanted: int) -> int:
        """Reserve slots for attempts; return how many, at most `wanted`."""

    def release_slots(self, slots: int) -> None:
        """Release reserved slots."""

    def begin(self, attempts: Sequence[Attempt], *, reserved_slots: int) -> None:
        """Begin attempts that are stored as `sending`, and release the slots that were reserved for them."""


@dataclass(frozen=True)
class Claim:
    """Deliveries that were due."""

    attempts: list[Attempt]
    """Attempts to make now."""
    interrupted: list[Attempt]
    """Attempts that have no outcome, and whose deliveries were tried for long enough: these have failed."""
    deferred: int = 0
    """Number of deliveries whose recipients are unknown, or have no verified address."""

    @property
    def found(self) -> int:
        """Return how many deliveries were due."""
        return len(self.attempts) + len(self.interrupted) + self.deferred


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt, and the delivery's new status."""

    attempt: Attempt
    result: Receipt | SendFailed
    status: Literal["sent", "retrying", "failed"]
    retry_delay: timedelta | None = None

    @property
    def receipt(self) -> Receipt | None:
        """The provider's acceptance, if the message was sent."""
        return self.result if isinstance(self.result, Receipt) else None

    @property
    def error(self) -> str | None:
        """The code of the error, if the message was not sent."""
        return self.result.code if isinstance(self.result, SendFailed) else None

    @property
    def reply_code(self) -> int | None:
        """The number of the mail server's reply, if it refused the message."""
        return self.result.reply_code if isinstance(self.result, SendFailed) else None


def attempt_deadline() -> float:
    """Return the deadline of an attempt that is stored from now on. Call it before the statement that stores it.

    A process that is suspended past the deadline cancels the attempt as it resumes. If it was just about to send, the
    message may be sent twice, with one id.
    """
    return time.monotonic() + (LEASE - LEASE_MARGIN).total_seconds()


def outcome_of(attempt: Attempt, result: Receipt | SendFailed, *, retry_policy: RetryPolicy) -> Outcome:
    """Return the outcome of an attempt: its delivery was sent, has failed, or gets a retry if there is time left."""
    if isinstance(result, Receipt):
        return Outcome(attempt, result, "sent")
    if result.is_final:
        return Outcome(attempt, result, "failed")
    return Outcome(attempt, result, "retrying", retry_policy.jittered_delay_after(attempt.tries))


def local_worker(session: AsyncSession) -> LocalWorker | None:
    """Return the worker of this process. New deliveries that it has slots for need not be claimed."""
    return cast("LocalWorker | None", local_loop(session, WORKER))


async def claim(
    session: AsyncSession, *, channels: Collection[str], limit: int, max_retries: int, retry_policy: RetryPolicy
) -> Claim:
    """Begin an attempt of up to `limit` due deliveries, up to `max_retries` of them not for the first time.

    Make the attempts once the transaction has committed.
    """
    parameters = {
        "channels": list(channels),
        "limit": limit,
        "max_retries": max_retries,
        "lease": LEASE,
        "initial_delay": retry_policy.initial_delay,
        "max_delay": retry_policy.max_delay,
        "max_doublings": MAX_DOUBLINGS,
        "retry_period": retry_policy.period,
    }
    deadline = attempt_deadline()
    rows = await fetch(session, _CLAIM, parameters)
    claimed = Claim([], [], deferred=sum(row["is_missing"] for row in rows))
    for row in rows:
        columns = dict(row)
        if columns.pop("is_missing"):
            continue
        (claimed.interrupted if columns.pop("is_over") else claimed.attempts).append(
            Attempt(**columns, deadline=deadline)
        )
    for attempt in claimed.interrupted:
        _record_end(session, attempt, error="interrupted")
    await _clear_sealed(session, claimed.interrupted)
    return claimed


async def record_outcomes(
    session: AsyncSession, outcomes: Sequence[Outcome], *, retry_policy: RetryPolicy
) -> list[Outcome]:
    """Record outcomes, with the events of deliveries that have ended. Repeatable.

    Return those that were recorded, with the status that was: a retry has become a failure if the delivery was tried
    for long enough. The others are outdated: another attempt has begun or ended meanwhile.
    """
    receipts = [outcome.receipt for outcome in outcomes]
    rows = await fetch(
        session,
        _RECORD,
        {
            "positions": list(range(len(outcomes))),
            "delivery_ids": [outcome.attempt.delivery_id for outcome in outcomes],
            "numbers": [outcome.attempt.number for outcome in outcomes],
            "statuses": [outcome.status for outcome in outcomes],
            "retry_delays": [outcome.retry_delay for outcome in outcomes],
            "errors": [outcome.error for outcome in outcomes],
            "reply_codes": [outcome.reply_code for outcome in outcomes],
            "providers": [receipt and receipt.provider for receipt in receipts],
            "provider_message_ids": [receipt and receipt.provider_message_id for receipt in receipts],
            "retry_period": retry_policy.period,
        },
    )
    status_by_position = {row["position"]: row["status"] for row in rows}
    recorded = [
        replace(outcome, status=status_by_position[position])
        for position, outcome in enumerate(outcomes)
        if position in status_by_position
    ]
    ended = [outcome for outcome in recorded if outcome.status != "retrying"]
    for outcome in ended:
        _record_end(session, outcome.attempt, error=outcome.error)
    await _clear_sealed(session, [outcome.attempt for outcome in ended])
    return recorded


async def _clear_sealed(session: AsyncSession, attempts: Sequence[Attempt]) -> None:
    """Delete the addresses and tokens of sealed mails that have ended."""
    sealed = [attempt.notification_id for attempt in attempts if attempt.sealed is not None]
    if sealed:
        await fetch(session, _CLEAR_SEALED, {"notification_ids": sealed})


def _record_end(session: AsyncSession, attempt: Attempt, *, error: str | None) -> None:
    """Record the event of a delivery that was sent, or has failed with the code `error`."""
    with continued_trace(attempt.traceparent):
        fields: dict[str, Any] = {
            "notification_id": attempt.notification_id,
            "user_id": attempt.user_id,
            "category": attempt.category,
            "channel": attempt.channel,
            "source_event_id": attempt.event_id,
        }
        record(session, NotificationSent(**fields) if error is None else NotificationFailed(**fields, reason=error))
