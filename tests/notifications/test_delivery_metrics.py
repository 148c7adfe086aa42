"""The metrics of due deliveries count first attempts, retries and interrupted attempts, and read only their indexes."""

import json
from datetime import timedelta

import sqlalchemy as sa
from prometheus_client import REGISTRY

from services.notifications.delivery_metrics import DELIVERIES
from services.notifications.models import Delivery
from shared.database import Sessions
from shared.measurements import Measurements
from tests.notifications.attempts import users

ATTEMPTS = [("queued", 120), ("sending", 60), ("retrying", 90), ("queued", -600), ("sending", -30), ("retrying", -600)]
"""The deliveries of the test: their statuses, and for how many seconds they have been due."""


async def measure(sessions: Sessions) -> tuple[float | None, float | None]:
    await Measurements([DELIVERIES], sessions=sessions).measure()
    return (
        REGISTRY.get_sample_value("notifications_due_deliveries"),
        REGISTRY.get_sample_value("notifications_oldest_due_seconds"),
    )


async def test_due_deliveries_are_measured(sessions: Sessions) -> None:
    assert await measure(sessions) == (0, 0)
    await users(sessions, len(ATTEMPTS))
    async with sessions.begin() as session:
        ids = await session.scalars(sa.select(Delivery.id).where(Delivery.channel == "email"))
        for id_, (status, seconds) in zip(ids.all(), ATTEMPTS, strict=True):
            due_at = sa.func.now() - timedelta(seconds=seconds)
            await session.execute(
                sa.update(Delivery).where(Delivery.id == id_).values(status=status, next_attempt_at=due_at)
            )
    due, oldest_seconds = await measure(sessions)
    assert due == 3
    assert 120 <= (oldest_seconds or 0) < 180


async def test_measuring_deliveries_reads_no_others(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        explain = sa.text(f"EXPLAIN (FORMAT JSON) {DELIVERIES.query}").bindparams(max_counted=10_000)
        plan = json.dumps(await session.scalar(explain))
    for index in ("ix_delivery_due_first", "ix_delivery_due_again"):
        assert f'"Index Name": "{index}"' in plan
    assert plan.count('"Index Cond": "(next_attempt_at <= now())"') == 2
