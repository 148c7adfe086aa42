"""Reads of the API of metrics."""

from deploy.console.metrics.schemas import SamplesView, SampleView
from deploy.console.observation.observer import Observer

MAX_SAMPLES = 500


def samples_of(
    observer: Observer, *, prefix: str = "", target: str | None = None, limit: int | None = MAX_SAMPLES
) -> SamplesView:
    """Return the series of the last scrape whose names begin with a prefix. `limit` None returns all of them."""
    items = [
        SampleView(
            target=name, name=sample.name, labels=sample.labels, value=sample.value, per_second=sample.per_second
        )
        for name, series in observer.series.items()
        if target in {None, name}
        for sample in series.samples(prefix)
    ]
    return SamplesView(
        items=items[:limit],
        is_cut=limit is not None and len(items) > limit,
        stale=[name for name, series in observer.series.items() if series.is_stale],
    )
