"""Reads of the API of metrics."""

from deploy.console.metrics.schemas import SamplesView, SampleView
from deploy.console.observation.observer import Observer

MAX_SAMPLES = 500


def samples_of(observer: Observer, *, prefix: str, target: str | None) -> SamplesView:
    """Return the series of the last scrape whose names begin with a prefix."""
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
