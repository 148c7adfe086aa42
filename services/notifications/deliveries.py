"""The queue of deliveries: due ones are claimed, each for one attempt, and the outcomes of attempts are recorded."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol, cast

from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.channels import Attempt, Receipt, SendFailed
from shared.driver_statements import DriverStatement, fetch
from shared.events.notifications import NotificationFailed, NotificationSent
from shared.loops import local_loop
from shared.messaging.outbox.outbox import record
from shared.telemetry import continued_trace

WORKER = "deliveries"
"""Name of the loop that sends deliveries. Wake it in a transaction that makes deliveries due."""
ATTEMPT_TIMEOUT = timedelta(seconds=30)
"""Time after which an attempt without an outcome counts as interrupted, and the delivery is due again."""
INITIAL_RETRY_DELAY = timedelta(seconds=1)
"""Delay before the first retry; doubles each time."""
MAX_RETRY_DELAY = timedelta(minutes=5)

IS_DUE = "SELECT EXISTS (SELECT FROM delivery WHERE next_attempt_at <= now() AND channel = ANY($1::text[]))"
"""Whether `claim` would find something, for asyncpg. The parameter has the channels."""

# Workers skip each other's rows. An attempt counts from here on, whatever happens to the process that makes it. A
# delivery that is due after its last attempt was interrupted: whether that sent the message is unknown.
_CLAIM = DriverStatement("""
    WITH due AS (
        SELECT id, attempts < :max_attempts AS is_left FROM delivery
        WHERE next_attempt_at <= now() AND channel = ANY(CAST(:channels AS text[]))
        ORDER BY next_attempt_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE delivery d SET
        status = CASE WHEN due.is_left THEN 'sending' ELSE 'failed' END,
        attempts = d.attempts + CAST(due.is_left AS int),
        next_attempt_at = CASE WHEN due.is_left THEN clock_timestamp() + CAST(:attempt_timeout AS interval) END,
        last_error = CASE WHEN due.is_left THEN d.last_error ELSE 'interrupted' END
    FROM due, notification n, recipient r
    WHERE d.id = due.id AND n.id = d.notification_id AND r.user_id = n.user_id
    RETURNING due.is_left, d.id AS delivery_id, d.channel, d.attempts AS number, d.traceparent,
              n.id AS notification_id, n.user_id, n.event_id, n.event_type, n.category, n.data,
              r.email, r.name, r.locale
""")

# A failure counts if the attempt is still the delivery's last one. A success also counts after that, as long as the
# delivery is open: the message has arrived, and need not be sent again.
_RECORD = DriverStatement("""
    UPDATE delivery d SET
        status = o.status,
        sent_at = CASE WHEN o.status = 'sent' THEN now() END,
        next_attempt_at = now() + o.retry_delay,
        last_error = o.error,
        provider = o.provider,
        provider_message_id = o.provider_message_id
    FROM unnest(
        CAST(:positions AS int[]), CAST(:delivery_ids AS uuid[]), CAST(:numbers AS int[]), CAST(:statuses AS text[]),
        CAST(:retry_delays AS interval[]), CAST(:errors AS text[]), CAST(:providers AS text[]),
        CAST(:provider_message_ids AS text[])
    ) AS o (position, delivery_id, number, status, retry_delay, error, provider, provider_message_id)
    WHERE d.id = o.delivery_id AND (
        (d.status = 'sending' AND d.attempts = o.number)
        OR (o.status = 'sent' AND d.status IN ('sending', 'retrying'))
    )
    RETURNING o.position
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
    """Last attempts that have no outcome: their deliveries have failed."""


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


def outcome_of(attempt: Attempt, result: Receipt | SendFailed, *, max_attempts: int) -> Outcome:
    """Return the outcome of an attempt: its delivery was sent, has failed, or gets a retry."""
    if isinstance(result, Receipt):
        return Outcome(attempt, result, "sent")
    if result.is_final or attempt.number >= max_attempts:
        return Outcome(attempt, result, "failed")
    delay = min(INITIAL_RETRY_DELAY * 2 ** (attempt.number - 1), MAX_RETRY_DELAY)
    return Outcome(attempt, result, "retrying", delay)


def local_worker(session: AsyncSession) -> LocalWorker | None:
    """Return the worker of this process. New deliveries that it has slots for need not be claimed."""
    return cast("LocalWorker | None", local_loop(session, WORKER))


async def claim(session: AsyncSession, *, channels: Collection[str], limit: int, max_attempts: int) -> Claim:
    """Begin an attempt of up to `limit` due deliveries. Make the attempts once the transaction has committed."""
    parameters = {
        "channels": list(channels),
        "limit": limit,
        "max_attempts": max_attempts,
        "attempt_timeout": ATTEMPT_TIMEOUT,
    }
    claimed = Claim([], [])
    for row in await fetch(session, _CLAIM, parameters):
        columns = dict(row)
        (claimed.attempts if columns.pop("is_left") else claimed.interrupted).append(Attempt(**columns))
    for attempt in claimed.interrupted:
        _record_end(session, attempt, error="interrupted")
    return claimed


async def record_outcomes(session: AsyncSession, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Record outcomes, with the events of deliveries that have ended. Repeatable.

    Return those that were recorded. The others are outdated: another attempt has begun or ended meanwhile.
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
            "providers": [receipt and receipt.provider for receipt in receipts],
            "provider_message_ids": [receipt and receipt.provider_message_id for receipt in receipts],
        },
    )
    recorded = [outcomes[position] for position in sorted(row["position"] for row in rows)]
    for outcome in recorded:
        if outcome.status != "retrying":
            _record_end(session, outcome.attempt, error=outcome.error)
    return recorded


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
