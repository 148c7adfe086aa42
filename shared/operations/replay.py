"""Replaying a key's dead letters in order. Every action is recorded."""

import time
from collections.abc import Callable, Collection
from typing import NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.messaging.consumer import inbox
from shared.messaging.consumer.dispatch import NotApplicable, classify, decode, dispatch, trusted_context
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.queries import (
    BLOCKING,
    ConsumerKey,
    DeadLetter,
    DeadLetterDetail,
    find_dead_letter,
)
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import INITIAL_RETRY_DELAY
from shared.messaging.envelope import Received, headers_from_text, received_of
from shared.messaging.spans import traced_replay
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)

DRAIN = "drain"
"""The actor of automatic replays."""
MAX_HANDLER_ATTEMPTS = 3
"""Tries of one replay for an event whose handler raises an unexpected error, such as a lost race."""
MAX_DRAIN_ATTEMPTS = 6
"""Tries of the drain for such an event, before an operator has to look."""
INITIAL_DRAIN_DELAY = INITIAL_RETRY_DELAY
"""Delay before the drain's first try; doubles each time."""
NOT_NAMED = "it is out of order: select it by its id or by the reason out_of_order"

_ACTIONS = {"replayed": "replay", "discarded": "discard", "expired": "expire"}
"""The recorded action of each resolution."""

_HEAD = sa.text(f"""
    SELECT id FROM dead_letter
    WHERE consumer = :consumer AND topic = :topic AND key = :key AND {BLOCKING}
    ORDER BY id LIMIT 1
""")  # noqa: S608 - a constant

# Only the first dead letter of a key has a time for its next try. One scan per consumer, so that a page reads no more
# rows than it returns, however many are due or wait.
_DUE = sa.text("""
    SELECT due.consumer, due.topic, due.key
    FROM unnest(CAST(:consumers AS text[])) AS c (consumer), LATERAL (
        SELECT d.consumer, d.topic, d.key, d.next_try_at FROM dead_letter d
        WHERE d.consumer = c.consumer AND d.next_try_at <= clock_timestamp()
        ORDER BY d.next_try_at LIMIT :limit
    ) AS due
    ORDER BY due.next_try_at LIMIT :limit
""")
_DUE_AMONG = sa.text(f"""
    SELECT k.consumer, k.topic, k.key
    FROM unnest(CAST(:consumers AS text[]), CAST(:topics AS text[]), CAST(:keys AS text[])) AS k (consumer, topic, key),
    LATERAL (
        SELECT d.next_try_at FROM dead_letter d
        WHERE d.consumer = k.consumer AND d.topic = k.topic AND d.key = k.key AND {BLOCKING}
        ORDER BY d.id LIMIT 1
    ) AS head
    WHERE head.next_try_at <= clock_timestamp()
""")  # noqa: S608 - a constant
# An event that only the resolved one had blocked is tried next.
_RESOLVE = sa.text(f"""
    WITH resolved AS (
        UPDATE dead_letter SET resolution = :resolution, resolved_at = clock_timestamp(), next_try_at = NULL
        WHERE id = :id AND resolution IS NULL
        RETURNING id, consumer, topic, key
    ), unblocked AS (
        UPDATE dead_letter SET next_try_at = clock_timestamp()
        WHERE reason = 'blocked' AND next_try_at IS NULL AND id = (
            SELECT d.id FROM dead_letter d, resolved r
            WHERE d.consumer = r.consumer AND d.topic = r.topic AND d.key = r.key AND {BLOCKING} AND d.id <> r.id
            ORDER BY d.id LIMIT 1
        )
    )
    SELECT id FROM resolved
""")  # noqa: S608 - a constant
# The recorded failures of the drain say how often an event was tried.
_ATTEMPTS = sa.text("""
    SELECT count(*) FROM dead_letter_action
    WHERE dead_letter_id = :id AND actor = :drain AND outcome = 'failed'
""")


class KeyReplay(NamedTuple):
    """The outcome for one key: how many events were applied; the dead letter that failed again, and its error."""

    applied: int
    stopped_by: DeadLetter | None = None
    error: str | None = None


def _is_not_named(_dead_letter: DeadLetter) -> bool:
    return False


async def replay_key(
    sessions: Sessions,
    consumer_key: ConsumerKey,
    *,
    subscription: Subscription,
    actor: str,
    is_named: Callable[[DeadLetter], bool] = _is_not_named,
    deadline: float | None = None,
    on_applied: Callable[[], None] | None = None,
) -> KeyReplay:
    """Apply a key's dead letters in order, one transaction each, up to the first that fails.

    One that is out of order stops it too, unless the operator has named it: its successors have been applied.
    Takes the lock that consumption takes: an event that arrives meanwhile waits, and is then applied or queued behind
    the dead letters. Begins nothing more after the `deadline` of the monotonic clock. Raises: transient errors.
    """
    applied = failures = 0
    while deadline is None or time.monotonic() < deadline:
        head: DeadLetter | None = None
        try:
            async with sessions.begin() as session:
                detail = await _locked_head(session, consumer_key)
                if detail is None:
                    break
                head = detail.dead_letter
                if head.reason == DeadLetterReason.OUT_OF_ORDER and not is_named(head):
                    return KeyReplay(applied, head, NOT_NAMED)
                await apply(session, detail, subscription=subscription)
                await resolve(session, head, resolution="replayed", actor=actor, detail=None)
        except Exception as error:
            if head is None or is_transient(error):
                raise
            failures += 1
            if not isinstance(error, NotApplicable) and failures < MAX_HANDLER_ATTEMPTS:
                continue
            return KeyReplay(applied, head, await record_failure(sessions, head, actor=actor, error=error))
        applied, failures = applied + 1, 0
        logger.info("dead_letter_replayed", dead_letter_id=head.id, consumer=head.consumer, actor=actor)
        if on_applied is not None:
            on_applied()
    return KeyReplay(applied)


async def keys_to_drain(session: AsyncSession, *, consumers: Collection[str], limit: int) -> list[ConsumerKey]:
    """List keys whose first dead letter is due for a try, the longest due first, at most `limit`.

    `consumers` are those whose handlers this process has.
    """
    rows = await session.execute(_DUE, {"consumers": list(consumers), "limit": limit})
    return [ConsumerKey(*row) for row in rows]


async def due_keys_among(session: AsyncSession, keys: Collection[ConsumerKey]) -> list[ConsumerKey]:
    """Return those of the keys whose first dead letter is due for a try."""
    parameters = {
        "consumers": [each.consumer for each in keys],
        "topics": [each.topic for each in keys],
        "keys": [each.key for each in keys],
    }
    return [ConsumerKey(*row) for row in await session.execute(_DUE_AMONG, parameters)]


async def _locked_head(session: AsyncSession, consumer_key: ConsumerKey) -> DeadLetterDetail | None:
    consumer, topic, key = consumer_key
    await inbox.lock_position(session, consumer=consumer, topic=topic, key=key)
    dead_letter_id = await session.scalar(_HEAD, consumer_key._asdict())
    return None if dead_letter_id is None else await find_dead_letter(session, dead_letter_id)


async def apply(session: AsyncSession, detail: DeadLetterDetail, *, subscription: Subscription) -> None:
    """Run the handler for a dead letter's event, if its type still has one. Raises: NotApplicable."""
    received = stored_event(detail)
    if subscription.ignores(received.headers):
        return
    context = trusted_context(received, subscription)
    handling = subscription.handling_of(context.type)
    if handling is None:
        return
    with traced_replay(received, consumer=detail.dead_letter.consumer) as continued:
        decoded = decode(continued, continued.context or context, handling)
        await dispatch(session, handling=handling, events=[decoded])


def stored_event(detail: DeadLetterDetail) -> Received:
    """Return the event of a dead letter as a consumer receives it."""
    dead_letter = detail.dead_letter
    return received_of(
        topic=dead_letter.topic,
        partition=dead_letter.partition,
        offset=dead_letter.offset,
        key=dead_letter.key,
        value=detail.payload,
        headers=headers_from_text(detail.headers),
    )


async def resolve(
    session: AsyncSession, dead_letter: DeadLetter, *, resolution: str, actor: str, detail: str | None
) -> bool:
    """Resolve a dead letter, so that its key has one less; return False if it was resolved before."""
    resolved = await session.execute(_RESOLVE, {"resolution": resolution, "id": dead_letter.id})
    if resolved.first() is None:
        return False
    if dead_letter.blocks_key:
        await inbox.add_dead_letters(
            session, consumer=dead_letter.consumer, topic=dead_letter.topic, added={dead_letter.key: -1}
        )
    action = _ACTIONS[resolution]
    await _record_action(session, dead_letter, actor=actor, action=action, outcome="done", detail=detail)
    return True


async def record_failure(sessions: Sessions, dead_letter: DeadLetter, *, actor: str, error: Exception) -> str:
    """Record a failed replay; return its error in words."""
    reason, message = classify(error)
    async with sessions.begin() as session:
        await _record_action(session, dead_letter, actor=actor, action="replay", outcome="failed", detail=message)
        attempts = await session.scalar(_ATTEMPTS, {"id": dead_letter.id, "drain": DRAIN})
        if reason is DeadLetterReason.RETRYING and attempts >= MAX_DRAIN_ATTEMPTS:
            reason = DeadLetterReason.RETRIES_EXHAUSTED
        retry_delay = INITIAL_DRAIN_DELAY * 2**attempts if reason is DeadLetterReason.RETRYING else None
        await session.execute(
            sa.text("""
                UPDATE dead_letter SET
                    reason = :reason, error = :error, next_try_at = clock_timestamp() + CAST(:retry_delay AS interval)
                WHERE id = :id AND resolution IS NULL AND reason IN ('blocked', 'retrying')
            """),
            {"id": dead_letter.id, "reason": reason.value, "error": message, "retry_delay": retry_delay},
        )
    logger.warning(
        "dead_letter_replay_failed", dead_letter_id=dead_letter.id, consumer=dead_letter.consumer, error=message
    )
    return message


async def _record_action(
    session: AsyncSession, dead_letter: DeadLetter, *, actor: str, action: str, outcome: str, detail: str | None
) -> None:
    await session.execute(
        sa.text(
            "INSERT INTO dead_letter_action (dead_letter_id, actor, action, outcome, detail)"
            " VALUES (:dead_letter_id, :actor, :action, :outcome, :detail)"
        ),
        {"dead_letter_id": dead_letter.id, "actor": actor, "action": action, "outcome": outcome, "detail": detail},
    )
