"""Contacts of users that a consumer has stored sealed, and opens outside of its transactions.

A handler makes no HTTP call, so it cannot read the key of a user's personal data. It stores what it got, and enqueues a
job. The job reads the keys, and replaces the rows of the service's replica with what it could open. Until then the
replica has no row of a new user, and the former data of a known one.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from prometheus_client import Gauge
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.events.users import Contact, UserCreated, UserUpdated
from shared.jobs import Jobs, enqueue
from shared.measurements import Measurement
from shared.messaging.envelope import EventContext
from shared.personal_data import SealedDataInvalid, unseal
from shared.personal_keys import PersonalKeys, PersonalKeysUnavailable
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)

TASK = "open_contacts"
BATCH_ROWS = 500
"""Contacts that are opened per transaction. More would hold their locks for longer."""
MAX_TRIES = 5
"""Jobs in a row that may find the users service unreachable. Then the contacts are left to the sweep, which goes on for
ever; a job that fails its last attempt would wait for an operator."""
MIN_AGE = timedelta(seconds=30)
"""Time for which a contact is left to its own job before the sweep opens it."""

WAITING = Gauge("sealed_contacts", "Contacts of users that are not opened yet, counted up to 10,000")
OLDEST = Gauge("sealed_contacts_oldest_seconds", "Time since the oldest of them arrived, 0 without one")

SCHEMA_UP = """
CREATE TABLE sealed_contact (
    user_id uuid NOT NULL,
    sequence bigint NOT NULL,
    personal text NOT NULL,
    locale text NOT NULL,
    time_zone text NOT NULL,
    email_verified boolean NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_sealed_contact PRIMARY KEY (user_id)
);

CREATE INDEX ix_sealed_contact_received_at ON sealed_contact (received_at);
"""
SCHEMA_DOWN = "DROP TABLE sealed_contact;"

# `received_at` stays: the user's data have been outdated since then.
_STORE = sa.text("""
    INSERT INTO sealed_contact (user_id, sequence, personal, locale, time_zone, email_verified)
    SELECT g.* FROM unnest(
        CAST(:user_ids AS uuid[]), CAST(:sequences AS bigint[]), CAST(:personal AS text[]), CAST(:locales AS text[]),
        CAST(:time_zones AS text[]), CAST(:email_verified AS boolean[])
    ) AS g (user_id, sequence, personal, locale, time_zone, email_verified)
    WHERE NOT EXISTS (SELECT FROM erased_user e WHERE e.user_id = g.user_id AND e.erased_at IS NOT NULL)
    ON CONFLICT (user_id) DO UPDATE SET
        sequence = excluded.sequence, personal = excluded.personal, locale = excluded.locale,
        time_zone = excluded.time_zone, email_verified = excluded.email_verified
    WHERE excluded.sequence > sealed_contact.sequence
""")
_WAITING = sa.text("""
    SELECT user_id, sequence, personal, locale, time_zone, email_verified
    FROM sealed_contact WHERE user_id = ANY(CAST(:user_ids AS uuid[]))
""")
_OLD = sa.text("""
    SELECT user_id FROM sealed_contact WHERE user_id > :after AND received_at <= now() - CAST(:min_age AS interval)
    ORDER BY user_id LIMIT :limit
""")
# Locked in one order, so that two jobs cannot deadlock. A contact that a later event has replaced meanwhile stays.
_DELETE = sa.text("""
    WITH locked AS MATERIALIZED (
        SELECT c.user_id FROM sealed_contact c
        JOIN unnest(CAST(:user_ids AS uuid[]), CAST(:sequences AS bigint[])) AS g (user_id, sequence)
        ON g.user_id = c.user_id AND g.sequence = c.sequence
        ORDER BY c.user_id FOR UPDATE OF c
    )
    DELETE FROM sealed_contact c USING locked l WHERE c.user_id = l.user_id RETURNING c.user_id
""")
_DELETE_ALL = sa.text("DELETE FROM sealed_contact WHERE user_id = ANY(CAST(:user_ids AS uuid[]))")


@dataclass(frozen=True)
class OpenedContact:
    """A user's contact, and the sequence of the event that has it."""

    contact: Contact
    locale: str
    time_zone: str
    email_verified: bool
    sequence: int


Replace = Callable[[AsyncSession, Mapping[UUID, OpenedContact]], Awaitable[None]]
"""Replaces or inserts the replica's rows of these users, except those that a later event has written."""


class _Job(BaseModel):
    """The payload of a job: the users whose contacts it opens, and how many jobs tried it before."""

    user_ids: list[UUID]
    tries: int = 0


def sealed_contact_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table to a service's metadata, which its migrations are compared with."""
    return sa.Table(
        "sealed_contact",
        metadata,
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("personal", sa.Text, nullable=False),
        sa.Column("locale", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("email_verified", sa.Boolean, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Index(None, "received_at"),
    )


async def store_contacts(
    session: AsyncSession, events: Sequence[tuple[UserCreated | UserUpdated, EventContext]]
) -> None:
    """Store the contacts of a handler's events as they are, and enqueue a job that opens them. Repeatable.

    Those of erased users are dropped: such an event was resent, or comes late.
    """
    # A later event of the same user overwrites an earlier one. Sorted, so that two transactions cannot deadlock.
    last = dict(sorted({event.user_id: (event, context) for event, context in events}.items()))
    given = [event for event, _ in last.values()]
    await session.execute(
        _STORE,
        {
            "user_ids": list(last),
            "sequences": [context.sequence for _, context in last.values()],
            "personal": [event.personal for event in given],
            "locales": [event.locale for event in given],
            "time_zones": [event.time_zone for event in given],
            "email_verified": [event.email_verified for event in given],
        },
    )
    await enqueue(session, TASK, _Job(user_ids=list(last)).model_dump_json().encode())


async def delete_contacts(session: AsyncSession, user_ids: Collection[UUID]) -> None:
    """Delete what waits to be opened of these users. Repeatable."""
    await session.execute(_DELETE_ALL, {"user_ids": list(user_ids)})


async def open_contacts(sessions: Sessions, user_ids: Collection[UUID], *, keys: PersonalKeys, replace: Replace) -> int:
    """Open the contacts of these users that still wait, and return how many were. Repeatable.

    A contact whose key is gone is deleted: the user was erased. One that cannot be opened with its key, or not be
    stored, stays.
    Raises: PersonalKeysUnavailable.
    """
    async with sessions() as session:
        waiting = (await session.execute(_WAITING, {"user_ids": list(user_ids)})).all()
    if not waiting:
        return 0
    key_by_user = await keys.of([row.user_id for row in waiting])
    opened = {row.user_id: contact for row in waiting if (contact := _opened(row, key_by_user)) is not None}
    gone = {row.user_id for row in waiting if row.user_id not in key_by_user}
    for user_id in gone:
        logger.info("contact_dropped", user_id=str(user_id), reason="key_destroyed")
    settled = [(row.user_id, row.sequence) for row in waiting if row.user_id in opened or row.user_id in gone]
    return await _replace(sessions, settled, opened, replace=replace)


async def _replace(
    sessions: Sessions,
    settled: Sequence[tuple[UUID, int]],
    opened: Mapping[UUID, OpenedContact],
    *,
    replace: Replace,
) -> int:
    """Delete stored contacts, given as user ids and sequences, and replace the replica's rows with what was opened.

    If this fails, each half is tried, until a contact that cannot be stored is alone: it stays, and holds up no other.
    Raises: transient errors.
    """
    if not settled:
        return 0
    try:
        async with sessions.begin() as session:
            given = {"user_ids": [user_id for user_id, _ in settled], "sequences": [number for _, number in settled]}
            deleted = set(await session.scalars(_DELETE, given))
            current = {user_id: contact for user_id, contact in opened.items() if user_id in deleted}
            if current:
                await replace(session, current)
    except Exception as error:
        if is_transient(error):
            raise
        if len(settled) == 1:
            logger.error("contact_not_stored", user_id=str(settled[0][0]), error=describe_error(error))
            return 0
        middle = len(settled) // 2
        return await _replace(sessions, settled[:middle], opened, replace=replace) + await _replace(
            sessions, settled[middle:], opened, replace=replace
        )
    return len(current)


def add_contact_jobs(jobs: Jobs, *, keys: PersonalKeys, replace: Replace) -> Jobs:
    """Add the job that a handler enqueues, and a sweep each minute for what is left."""

    @jobs.task(TASK)
    async def open_stored_contacts(sessions: Sessions, payload: bytes) -> None:
        job = _Job.model_validate_json(payload)
        try:
            for start in range(0, len(job.user_ids), BATCH_ROWS):
                await open_contacts(sessions, job.user_ids[start : start + BATCH_ROWS], keys=keys, replace=replace)
        except PersonalKeysUnavailable:
            await _try_later(sessions, job)

    @jobs.every("* * * * *")
    async def open_waiting_contacts(sessions: Sessions) -> None:
        await open_old_contacts(sessions, keys=keys, replace=replace)

    return jobs


async def open_old_contacts(
    sessions: Sessions, *, keys: PersonalKeys, replace: Replace, min_age: timedelta = MIN_AGE
) -> None:
    """Open all contacts that have waited for a while. Ends early if the users service does not answer."""
    after = UUID(int=0)
    while True:
        async with sessions() as session:
            page = {"after": after, "min_age": min_age, "limit": BATCH_ROWS}
            user_ids = list(await session.scalars(_OLD, page))
        if not user_ids:
            return
        try:
            opened = await open_contacts(sessions, user_ids, keys=keys, replace=replace)
        except PersonalKeysUnavailable:
            return
        if opened:
            logger.info("waiting_contacts_opened", contacts=opened)
        after = user_ids[-1]


def _opened(row: sa.Row[Any], key_by_user: Mapping[UUID, bytes]) -> OpenedContact | None:
    """Open a contact; return None if its key is gone, or does not fit."""
    key = key_by_user.get(row.user_id)
    if key is None:
        return None
    try:
        contact = unseal(row.personal, key=key, model=Contact)
    except SealedDataInvalid as error:
        logger.error("contact_unreadable", user_id=str(row.user_id), sequence=row.sequence, error=str(error))
        return None
    return OpenedContact(contact, row.locale, row.time_zone, row.email_verified, row.sequence)


async def _try_later(sessions: Sessions, job: _Job) -> None:
    tries = job.tries + 1
    if tries < MAX_TRIES:
        later = _Job(user_ids=job.user_ids, tries=tries)
        async with sessions.begin() as session:
            await enqueue(session, TASK, later.model_dump_json().encode(), delay=timedelta(seconds=2**tries))


# now() bounds the scan by the index, which clock_timestamp() cannot.
_MEASURED = """
    SELECT json_build_object('waiting', count(*), 'oldest', extract(epoch FROM now() - min(received_at)))
    FROM (SELECT received_at FROM sealed_contact ORDER BY received_at LIMIT :max_counted) AS c
"""


def _publish(found: dict[str, Any]) -> None:
    WAITING.set(found["waiting"])
    OLDEST.set(found["oldest"] or 0)


SEALED_CONTACTS = Measurement("sealed_contacts", _MEASURED, _publish)
