"""Response bodies of the API of metrics."""

from shared.http.bodies import ResponseBody


class SampleView(ResponseBody):
    """The value of a series in the last scrape."""

    target: str
    """The service, `audit` or `backup`."""
    name: str
    labels: dict[str, str]
    value: float
    per_second: float
    """The increase per second in the last half minute; of use for counters only."""


class SamplesView(ResponseBody):
    """Series of metrics."""

    items: list[SampleView]
    is_cut: bool
    """Whether there are more than were returned: choose a longer prefix."""
    stale: list[str]
    """Targets that were not scraped in the last ten seconds: their values are old."""
