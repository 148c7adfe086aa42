"""Request and response bodies of the page *Break it* and its API."""

from typing import Annotated, Any

from pydantic import Field

from deploy.console.invariants.schemas import InvariantsView
from deploy.local.control_protocol import ComparisonStatus, FaultDescription, FaultReport, WrongBuild
from shared.http.bodies import RequestBody, ResponseBody


class RatesView(ResponseBody):
    """The work of the system at present."""

    orders_placed_per_second: float
    events_published_per_second: float
    events_applied_per_second: float
    deliveries_sent_per_second: float
    outbox_events: int
    """Events that wait in all outboxes."""
    lag_events: int
    """Records that no consumer has applied yet."""
    dead_letters: int


class LoadStart(RequestBody):
    """A load of real baskets on the local system."""

    orders_per_second: Annotated[float, Field(gt=0, le=50, description="Customers that begin per second.")] = 3.0
    seconds: Annotated[float, Field(ge=1, le=3600)] = 120.0


class LoadView(ResponseBody):
    """The load that runs, or the last one."""

    is_running: bool
    started: LoadStart | None
    """Null before the first load."""
    last: dict[str, Any]
    """The last line of `python -m deploy.load run --json-lines`; with `summary` once it has ended."""
    error: str | None


class BreakItView(ResponseBody):
    """The faults that can be injected, what they have done, and whether the invariants hold."""

    faults: list[FaultDescription]
    injected: list[FaultReport]
    """Newest first."""
    comparison: ComparisonStatus | None
    """The wrong build beside the right one, at present or the last time; null before the first one."""
    load: LoadView
    rates: RatesView
    invariants: InvariantsView


class FaultInjection(RequestBody):
    """The parameters of a fault, as its description names them."""

    parameters: dict[str, Any] = Field(default_factory=dict, examples=[{"service": "orders"}])


class ComparisonStart(RequestBody):
    """A wrong build, and the load and the faults that it and the right build get."""

    build: WrongBuild
    orders_per_second: Annotated[float, Field(gt=0, le=50)] = 5.0
    fault_every_seconds: Annotated[float, Field(ge=0, le=600)] = 8.0
