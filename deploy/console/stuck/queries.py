"""Reads of the page *Stuck*, from the services that know the reasons."""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.console.access.operator import Operator
from deploy.console.services import Services
from deploy.console.stuck.schemas import StuckView

MAX_ITEMS = 50
"""Items of each kind that the page shows; the services' own routes have all."""
_DELIVERY_STATUSES = ("failed", "retrying", "deferred")
_JOB_STATUSES = ("failed", "overdue")

Items = list[dict[str, Any]]


async def stuck_things(services: Services, operator: Operator) -> StuckView:
    """Return what is stuck in all services."""

    async def read(service: str) -> Mapping[str, Items]:
        path = f"/v1/operations/{service}"

        async def items(route: str, *, kinds: Sequence[str | None] = (None,)) -> Items:
            found: Items = []
            for kind in kinds:
                page = await services.get(
                    service, f"{path}/{route}", token=operator.token, status=kind, limit=MAX_ITEMS if kind else None
                )
                found += page["items"]
            return found

        return {
            "orders": await items("stuck") if service == "orders" else [],
            "deliveries": await items("deliveries", kinds=_DELIVERY_STATUSES) if service == "notifications" else [],
            "jobs": _named(service, await items("jobs", kinds=_JOB_STATUSES)),
            "schedules": _named(service, [each for each in await items("schedules") if each["overdue_seconds"] > 0]),
        }

    answers = await services.each(read)
    found: dict[str, Items] = {"orders": [], "deliveries": [], "jobs": [], "schedules": []}
    for answer in answers:
        for kind, things in (answer.value or {}).items():
            found[kind] += things
    unavailable = {answer.service: answer.error for answer in answers if answer.error}
    return StuckView.model_validate({**found, "unavailable": unavailable})


def _named(service: str, items: Items) -> Items:
    return [{"service": service, **item} for item in items]
