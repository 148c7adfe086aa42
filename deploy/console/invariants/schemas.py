"""Response bodies of the page *Invariants* and its API, as the audit's page `/findings` has them."""

from datetime import datetime
from typing import Literal

from shared.http.bodies import ResponseBody


class AcceptedView(ResponseBody):
    """An operator's acceptance of a finding that cannot be repaired."""

    actor: str
    note: str
    at: datetime


class FindingView(ResponseBody):
    """Data that contradict an invariant."""

    id: str
    kind: str
    key: str
    """The id of the user or order, the SKU of the product ..."""
    text: str
    command: str
    """The command that repairs it, or explains more."""
    first_found_at: datetime
    accepted: AcceptedView | None = None


class InvariantView(ResponseBody):
    """An invariant, and whether it held in the last run."""

    name: str
    rule: str
    state: Literal["green", "violated", "accepted", "unknown"]
    findings: list[FindingView]


class RunView(ResponseBody):
    """The last completed run of the audit."""

    mode: str
    started_at: datetime
    completed_at: datetime
    seconds: float
    checked: dict[str, int]
    """The number of checked keys, by kind."""
    open: int
    """Keys with differences that are too young to count: events on their way."""
    skipped: list[str]
    watermark_age_seconds: dict[str, float]


class InvariantsView(ResponseBody):
    """The state of all invariants."""

    state: Literal["green", "violated", "unknown"]
    """`unknown` while no run has completed, or the audit does not answer."""
    error: str | None
    """The reason why the state is unknown or old."""
    failed_runs: int
    run: RunView | None
    invariants: list[InvariantView]
