"""Request metrics, and the page that Prometheus scrapes."""

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from starlette.responses import Response

from shared.http.auth import public

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LABELS = ("method", "route", "status_class")
_requests = Counter("http_requests", "Requests that got a response.", _LABELS)  # exposed as http_requests_total
_duration = Histogram("http_request_duration_seconds", "Time from a request to the end of its response.", _LABELS)

metrics_router = APIRouter(include_in_schema=False)


def count_request(method: str, *, route: str, status: int, duration_seconds: float) -> None:
    """Count one finished request. `route` is the path template, never the path."""
    # Clients can send any method name: unknown ones share a label, so that they cannot create time series.
    labels = (method if method in _METHODS else "other", route, f"{status // 100}xx")
    _requests.labels(*labels).inc()
    _duration.labels(*labels).observe(duration_seconds)


@metrics_router.get("/metrics", dependencies=[Depends(public)])
async def metrics() -> Response:
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
