"""Reads of the page *Stuck*, from the services that know the reasons."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.console.access.operator import Operator
from deploy.console.services import Services
from deploy.console.stuck.schemas import StuckView

MAX_ITEMS = 50
"""Items of each kind that the page shows; the services' own routes have all."""
OVERDUE_SECONDS = 60
"""Age from which a delivery that is queued or being sent counts as stuck: usually both take a second."""
_DELIVERY_STATUSES = ("failed", "retrying", "deferred")
_SHORT_DELIVERY_STATUSES = ("queued", "sending")
_JOB_STATUSES = ("failed", "overdue")

Items = list[dict[str, Any]]


async def stuck_things(services: Services, operator: Operator) -> StuckView:
    """Return what is stuck in all services."""

    async def read(service: str) -> Mapping[str, Items]:
        path = f"/v1/operations/{service}"

        async def items(route: str, *, statuses: Sequence[str], **filters: str) -> Items:
            found: Items = []
            for status in statuses:
                page = await services.get(
                    service, f"{path}/{route}", token=operator.token, status=status, limit=MAX_ITEMS, **filters
                )
                found += page["items"]
            return found

        overdue = {"created_before": (datetime.now(UTC) - timedelta(seconds=OVERDUE_SECONDS)).isoformat()}

        schedules = (await services.get(service, f"{path}/schedules", token=operator.token))["items"]
        found: dict[str, Items] = {
            "jobs": _named(service, await items("jobs", statuses=_JOB_STATUSES)),
            "schedules": _named(service, [each for each in schedules if each["overdue_seconds"] > 0]),
        }
        if service == "orders":
            stuck = await services.get(service, f"{path}/stuck", token=operator.token, limit=MAX_ITEMS)
            found["orders"] = stuck["items"]
        if service == "notifications":
            found["deliveries"] = await items("deliveries", statuses=_DELIVERY_STATUSES)
            found["deliveries"] += await items("deliveries", statuses=_SHORT_DELIVERY_STATUSES, **overdue)
        return found

    answers = await services.each(read)
    found: dict[str, Items] = {"orders": [], "deliveries": [], "jobs": [], "schedules": []}
    for answer in answers:
        for kind, things in (answer.value or {}).items():
            found[kind] += things
    unavailable = {answer.service: answer.error for answer in answers if answer.error}
    return StuckView.model_validate({**found, "unavailable": unavailable})


def _named(service: str, items: Items) -> Items:
    return [{"service": service, **item} for item in items]
