"""The health of a service: the checks of what it depends on, and those of the loops that run in a process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from shared.cache import Cache
from shared.database import Database, Sessions
from shared.health import Check, Health, Unhealthy
from shared.heartbeat import Heartbeat
from shared.job_health import JobHealth
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.outbox.relay import Relay

MAX_OUTBOX_AGE = timedelta(seconds=60)
"""The service is degraded while an event waits in the outbox for longer than this."""


@dataclass(frozen=True)
class Watched:
    """The parts that the health of a process depends on. `jobs` is None without its role; `loops` run here."""

    database: Database
    cache: Cache
    relay: Relay
    consumer_groups: ConsumerGroups
    jobs: JobHealth | None
    loops: Sequence[Heartbeat]

    def stuck(self) -> list[str]:
        """Return the names of the loops that are stuck, for which a restart of the process helps.

        A loop whose rounds fail is not stuck: what it needs is away, and a restart would not bring it back.
        """
        return [*self.consumer_groups.stuck(), *(each.loop for each in self.loops if each.is_stuck)]


def health_of(service: str, watched: Watched, checks: Mapping[str, Check]) -> Health:
    """Return the health of a process of this service. `checks` are the service's own."""
    loops = {each.loop: _check_of(each) for each in watched.loops}
    jobs = {"schedules": watched.jobs.check_schedules} if watched.jobs else {}
    return Health(
        service=service,
        checks={
            "database": watched.database.ping,
            "cache": watched.cache.ping,
            "kafka": watched.relay.check,
            "outbox": lambda: _check_outbox(watched.database.sessions),
            "consumers": watched.consumer_groups.check,
            **loops,
            **jobs,
            **checks,
        },
        # Without the database no request can be served. Without the others requests are served, and events wait.
        critical=frozenset({"database"}),
        stuck=watched.stuck,
    )


def _check_of(heartbeat: Heartbeat) -> Check:
    async def check() -> None:
        if problem := heartbeat.problem():
            raise Unhealthy(problem)

    return check


async def _check_outbox(sessions: Sessions) -> None:
    async with sessions() as session:
        oldest = await session.scalar(
            sa.text("SELECT clock_timestamp() - occurred_at FROM outbox ORDER BY shard, id LIMIT 1")
        )
    if oldest is not None and oldest > MAX_OUTBOX_AGE:
        raise Unhealthy("events wait to be sent")
