"""Response bodies of the page *System* and its API."""

from datetime import datetime

from shared.http.bodies import ResponseBody


class HealthChangeView(ResponseBody):
    """A change of a check's result; `check` is empty for the service as a whole."""

    at: datetime
    check: str
    state: str
    error: str | None


class ServiceHealthView(ResponseBody):
    """The health of a service, as it reports it, with what has changed since the console has started."""

    service: str
    state: str | None
    checks: dict[str, str | None]
    """The error of each check; null if it is healthy."""
    changes: list[HealthChangeView]
    """Newest first."""


class SystemView(ResponseBody):
    """The state of the system."""

    services: list[ServiceHealthView]
