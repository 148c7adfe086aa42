"""Reads outbox age and consumer lag from /metrics of the processes under load, each second."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2
from prometheus_client.parser import text_string_to_metric_families

OUTBOX_AGE = "outbox_oldest_event_seconds"
CONSUMER_LAG = "consumer_lag_events"
INTERVAL_SECONDS = 1.0
TIMEOUT_SECONDS = 2.0


@dataclass
class MessagingGauges:
    """The latest values; None while no process has answered. Ages are up to 15 s old: the processes measure so often.

    `unreachable`: the names of processes that have not answered, for the report.
    """

    urls: Mapping[str, str]
    outbox_age_seconds: float | None = None
    consumer_lag: float | None = None

    def __post_init__(self) -> None:
        self.unreachable = set(self.urls)

    async def keep_reading(self) -> None:
        """Read forever."""
        async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
            while True:
                await asyncio.gather(self._read(http), asyncio.sleep(INTERVAL_SECONDS))

    async def _read(self, http: httpx2.AsyncClient) -> None:
        pages = await asyncio.gather(*(self._page(http, name, url) for name, url in self.urls.items()))
        answered = [page for page in pages if page is not None]
        if answered:
            # All processes of a service report the same outbox, but each consumer's lag is of its own partitions.
            self.outbox_age_seconds = max(_values(answered, OUTBOX_AGE), default=None)
            self.consumer_lag = sum(_values(answered, CONSUMER_LAG), start=0.0)

    async def _page(self, http: httpx2.AsyncClient, name: str, url: str) -> str | None:
        try:
            response = await http.get(f"{url}/metrics")
            response.raise_for_status()
        except httpx2.HTTPError:
            return None
        self.unreachable.discard(name)
        return response.text


def _values(pages: list[str], metric: str) -> list[float]:
    """Return the metric's values on all pages. Pages are parsed from the metric's lines only, since they are long."""
    lines = [line for page in pages for line in page.splitlines() if line.startswith(metric)]
    families = text_string_to_metric_families("\n".join(lines) + "\n")
    return [sample.value for family in families for sample in family.samples if sample.name == metric]
