"""The routes of the API of metrics."""

from typing import Annotated

from fastapi import APIRouter, Query

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ObserverDep
from deploy.console.metrics.schemas import SamplesView, SampleView

MAX_SAMPLES = 500

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
    items = [
        SampleView(
            target=name, name=sample.name, labels=sample.labels, value=sample.value, per_second=sample.per_second
        )
        for name, series in observer.series.items()
        if target in {None, name}
        for sample in series.samples(prefix)
    ]
    return SamplesView(
        items=items[:MAX_SAMPLES],
        is_cut=len(items) > MAX_SAMPLES,
        stale=[name for name, series in observer.series.items() if series.is_stale],
    )
