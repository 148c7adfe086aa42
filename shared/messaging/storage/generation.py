"""The generation of a database's event streams, which rises whenever the database may have lost transactions.

A restored database, or a replica that was promoted although it lagged, has a past that others know more of: consumers
have seen higher numbers of its events, and its own consumers have committed offsets of events that it has not applied.
So every number begins with the generation in which it was assigned, as a zxid of ZooKeeper begins with its epoch: the
numbers of a key keep rising, and whoever compares them needs no knowledge of restores. Consumers commit the generation
with their offsets, and trust only those of the current one.

PostgreSQL starts a new timeline with every promotion and every point-in-time recovery, so those are noticed here
without anybody's help. Restoring a dump starts none: then `python -m services.<name> recover` raises the generation.
"""

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

logger = structlog.get_logger(__name__)

NUMBER_BITS = 22
"""Bits of a sequence below its generation. A key that needs more numbers goes on into the generation's bits: harmless,
because the next generation is higher by the seconds that have passed."""

_LATEST = "SELECT generation, timeline FROM stream_generation ORDER BY generation DESC LIMIT 1"
_TIMELINE = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
CURRENT = f"SELECT generation FROM ({_LATEST}) AS latest WHERE timeline = {_TIMELINE}"  # noqa: S608 - constants
"""Selects the generation; no row if the server has started a timeline since it was raised."""

_CURRENT = sa.text(CURRENT)
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('orderly:stream_generation'))")
# Seconds since 2026, so that a database restored twice from the same backup does not assign the same numbers twice.
_RAISE = sa.text(f"""
    INSERT INTO stream_generation (generation, timeline, actor, note)
    SELECT greatest(
               latest.generation + 1,
               CAST(extract(epoch FROM clock_timestamp() - timestamptz '2026-01-01T00:00:00Z') AS bigint)
           ), server.timeline, :actor, :note
    FROM ({_LATEST}) AS latest, (SELECT {_TIMELINE} AS timeline) AS server
    WHERE :on_same_timeline OR latest.timeline <> server.timeline
    RETURNING generation, timeline
""")  # noqa: S608 - constants
_NOTICED = {"actor": "system", "note": "the server has started a timeline", "on_same_timeline": False}


def generation_of(sequence: int) -> int:
    """Return the generation in which a sequence was assigned; 0 until the first one is raised."""
    return sequence >> NUMBER_BITS


async def current_generation(session: AsyncSession) -> int:
    """Return the generation, raised first if the server has started a timeline. The caller commits."""
    return await session.run_sync(_current_in)


def renew_in(session: Session) -> None:
    """Raise the generation if the server has started a timeline since. Others wait until this transaction ends."""
    session.execute(_LOCK)
    _report(session.execute(_RAISE, _NOTICED).one_or_none())


async def raise_generation(session: AsyncSession, *, actor: str, note: str) -> int:
    """Raise the generation on whatever timeline the server is, and return it. The caller commits."""
    await session.execute(_LOCK)
    raised = (await session.execute(_RAISE, {"actor": actor, "note": note, "on_same_timeline": True})).one()
    _report(raised)
    return int(raised.generation)


def _current_in(session: Session) -> int:
    generation: int | None = session.scalar(_CURRENT)
    if generation is None:
        renew_in(session)
        generation = session.scalars(_CURRENT).one()
    return generation


def _report(raised: sa.Row[tuple[int, str]] | None) -> None:
    if raised is not None:
        logger.warning("stream_generation_raised", generation=raised.generation, timeline=raised.timeline)
