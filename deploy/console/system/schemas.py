"""Request and response bodies of the page *System* and its API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.http.bodies import RequestBody, ResponseBody

Action = Literal["start", "stop", "restart", "kill", "suspend", "resume"]


class HealthChangeView(ResponseBody):
    """A change of a check's result; `check` is empty for the service as a whole."""

    at: datetime
    check: str
    state: str
    error: str | None


class ServiceHealthView(ResponseBody):
    """The health of a service, as it reports it, with what has changed since the console started."""

    service: str
    state: str | None
    checks: dict[str, str | None]
    """The error of each check; null if it is healthy."""
    changes: list[HealthChangeView]
    """Newest first."""
    requests_per_second: float
    errors_per_second: float
    latency_seconds: float | None
    """99th percentile of the last minute; null without requests."""
    pool_in_use: int | None
    pool_size: int | None
    memory_bytes: int | None
    """Resident memory of the process that answered."""
    started_at: datetime | None


class LifecycleEventView(ResponseBody):
    """Something that happened to a process."""

    at: datetime
    event: str
    text: str


class ProcessView(ResponseBody):
    """A process of `make run`."""

    name: str
    state: str
    pid: int | None
    memory_bytes: int
    restarts: int
    started_at: datetime | None
    suspended_until: datetime | None
    last_exit: str | None
    address: str
    notes: str
    needs: list[str]
    """The processes without which it does not work."""
    events: list[LifecycleEventView]
    """Oldest first."""


class SystemView(ResponseBody):
    """The state of the system."""

    services: list[ServiceHealthView]
    processes: list[ProcessView] | None
    """The processes of `make run`; null elsewhere, and while the supervisor does not answer."""
    memory_bytes: int | None
    """The memory of all processes, the supervisor included."""
    error: str | None
    """The reason why the supervisor does not answer."""


class ProcessAction(RequestBody):
    """An action on a process of `make run`."""

    action: Action
    seconds: Annotated[float, Field(gt=0, le=600, description="The length of a suspension.", examples=[15])] = 30
    force: Annotated[bool, Field(description="Stop it even while running processes need it.")] = False
