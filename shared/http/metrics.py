"""Request metrics, and the page that Prometheus scrapes."""

from fastapi import APIRouter, Depends, Request
from prometheus_client import REGISTRY, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from shared.exemplars import current_exemplar
from shared.http.auth import public

# They would add a time series with the start time of each counter and histogram: `process_start_time_seconds` has it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client's is not annotated

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LABELS = ("method", "route", "status_class")
_requests = Counter("http_requests_total", "Requests that got a response", _LABELS)
_duration = Histogram("http_request_duration_seconds", "Time from a request to the end of its response", _LABELS)

metrics_router = APIRouter(include_in_schema=False)


def count_request(method: str, *, route: str, status: int, duration_seconds: float) -> None:
    """Count one finished request, in its trace. `route` is the path template, never the path."""
    # Clients can send any method name: unknown ones share a label, so that they cannot create time series.
    labels = (method if method in _METHODS else "other", route, f"{status // 100}xx")
    _requests.labels(*labels).inc()
    _duration.labels(*labels).observe(duration_seconds, current_exemplar())


@metrics_router.get("/metrics", dependencies=[Depends(public)])
async def metrics(request: Request) -> Response:
    """Respond in OpenMetrics, which has exemplars, if the scraper accepts it; otherwise in the classic text."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"Content-Type": content_type})
