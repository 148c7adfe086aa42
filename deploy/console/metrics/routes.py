"""The routes of the API of metrics."""

from typing import Annotated

from fastapi import APIRouter, Query

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ObserverDep
from deploy.console.metrics.queries import samples_of
from deploy.console.metrics.schemas import SamplesView

router = APIRouter(prefix="/api/v1/metrics", tags=["metrics"])


@router.get("", summary="Read metrics")
async def read_metrics(
    _operator: OperatorDep,
    observer: ObserverDep,
    *,
    prefix: Annotated[
        str, Query(max_length=100, description="Only metrics whose name begins with this.", examples=["outbox_"])
    ] = "",
    target: Annotated[str | None, Query(description="Only this service, or `audit` or `backup`.")] = None,
) -> SamplesView:
    """Return the values of the last scrape, by target and name. docs/metrics.md explains each metric."""
    return samples_of(observer, prefix=prefix, target=target)
