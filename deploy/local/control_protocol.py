"""The control protocol of the local system: requests and answers, one JSON document a line, over a Unix socket.

A request names an `action` and its parameters. The answer is `{"ok": true, "result": ...}`, or `{"ok": false, "error":
{"code": ..., "message": ...}}`. A connection may send any number of requests; they are answered in their order.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from deploy.local.lifecycle import Happening, State
from deploy.local.process import LocalError

MAX_REQUEST_BYTES = 64 * 1024
"""The longest request: the default limit of asyncio's streams. A longer one is refused, and its connection closed."""
MAX_SUSPENSION_SECONDS = 600
"""The longest suspension of a process, which then continues without a request."""


class ControlError(LocalError):
    """A request that was refused or failed. `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WrongBuild(StrEnum):
    """The ways in which a build of the services is deliberately wrong."""

    ACKNOWLEDGE_BEFORE_APPLYING = "acknowledge-before-applying"
    """Consumers commit the offsets of a batch before they apply it."""
    PUBLISH_AFTER_COMMIT = "publish-after-commit"
    """Events are sent to Kafka after the commit, without an outbox."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StatusRequest(_Document):
    """Return the state of every process: `SystemStatus`."""

    action: Literal["status"] = "status"


class ProcessRequest(_Document):
    """Do something to one process; return its `ProcessStatus` afterwards."""

    action: Literal["start", "restart", "kill", "resume"]
    process: str


class StopRequest(_Document):
    """Stop a process. Refused while running processes need it, unless `force` is set."""

    action: Literal["stop"] = "stop"
    process: str
    force: bool = False


class SuspendRequest(_Document):
    """Suspend a process and its children for a bounded time."""

    action: Literal["suspend"] = "suspend"
    process: str
    seconds: Annotated[float, Field(gt=0, le=MAX_SUSPENSION_SECONDS)] = 30


class FaultsRequest(_Document):
    """List the faults: a list of `FaultDescription`."""

    action: Literal["faults"] = "faults"


class FaultRequest(_Document):
    """Inject a fault: `FaultReport`."""

    action: Literal["fault"] = "fault"
    fault: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class StartComparisonRequest(_Document):
    """Start a wrong build beside the right one, with the same load and the same faults: `ComparisonStatus`."""

    action: Literal["start_comparison"] = "start_comparison"
    build: WrongBuild
    orders_per_second: Annotated[float, Field(gt=0, le=50)] = 3
    """Orders that are placed at each of the two builds."""
    fault_every_seconds: Annotated[float, Field(ge=0, le=600)] = 8
    """Delay between two faults; 0 for none."""
    seed: int | None = None
    """The seed of the faults. Default: a random one."""


class ComparisonRequest(_Document):
    """Return how the comparison stands: `ComparisonStatus`. Stopping it drops the wrong build's data."""

    action: Literal["comparison", "stop_comparison"]


Request = Annotated[
    StatusRequest
    | ProcessRequest
    | StopRequest
    | SuspendRequest
    | FaultsRequest
    | FaultRequest
    | StartComparisonRequest
    | ComparisonRequest,
    Field(discriminator="action"),
]
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)


class ProcessStatus(_Document):
    """One process of the system."""

    name: str
    state: State
    pid: int | None
    """None unless it runs."""
    memory_bytes: int
    restarts: int
    """Restarts by the supervisor since the system was started."""
    started_at: datetime | None
    suspended_until: datetime | None
    last_exit: str | None
    """The way in which it ended last, such as "was killed by SIGKILL"."""
    address: str
    notes: str
    log_file: str
    needs: list[str]
    """The processes without which it does not work."""
    events: list[Happening]
    """The last events, the oldest first."""


class FaultReport(_Document):
    """A fault that was injected."""

    id: int
    fault: str
    did: str
    """A sentence that says what was done."""
    ends: str
    """A sentence that says how one sees that its effects are over."""
    details: dict[str, Any]
    injected_at: datetime
    ended_at: datetime | None
    """None while its effects last."""


class SystemStatus(_Document):
    """The whole system."""

    ready: bool
    started_at: datetime
    supervisor_pid: int
    memory_bytes: int
    """The memory of all processes, the supervisor included."""
    processes: list[ProcessStatus]
    faults: list[FaultReport]
    """The last faults, the oldest first."""
    comparison: str | None
    """The wrong build that runs; None if none does."""


class FaultDescription(_Document):
    """A fault that can be injected."""

    name: str
    title: str
    """The text of its button."""
    description: str
    ends: str
    parameters: dict[str, Any]
    """JSON Schema of its parameters."""


class BuildCounts(_Document):
    """The counters of one build."""

    accepted: int
    """Orders that were answered with 201."""
    failed: int
    """Requests that had no such answer, as while a process restarts. Nothing was promised."""
    decided: int
    """Accepted orders that were confirmed, rejected or cancelled."""
    pending: int
    """Accepted orders that are not decided yet, without those that are lost."""
    lost: int
    """Accepted orders that no event will ever decide: nothing waits for them in an outbox, in Kafka or as a dead
    letter."""
    mails_missing: int
    """Decided orders without a notification, although nothing waits that would make one."""
    credit_leaked_cents: int
    """Credit that is reserved for orders that are lost or over."""
    lost_orders: list[str]
    """The ids of some of the lost orders."""


class ComparisonStatus(_Document):
    """A wrong build beside the right one."""

    build: WrongBuild
    phase: Literal["starting", "running", "stopping", "stopped", "failed"]
    error: str | None
    started_at: datetime
    running_seconds: float
    orders_per_second: float
    faults: int
    """Faults that both builds had."""
    last_fault: str | None
    right: BuildCounts
    wrong: BuildCounts


def parse_request(line: bytes) -> Request:
    """Return the request of a line. Raises: ControlError that says what is wrong with it."""
    try:
        return _REQUESTS.validate_json(line)
    except ValidationError as error:
        raise _bad_request(error) from None


def check_parameters(model: type[BaseModel], parameters: dict[str, Any]) -> BaseModel:
    """Return the parameters of a fault. Raises: ControlError that says what is wrong with them."""
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        raise _bad_request(error) from None


def _bad_request(error: ValidationError) -> ControlError:
    first = error.errors(include_url=False, include_context=False)[0]
    return ControlError("bad_request", _problem_of(dict(first)))


def _problem_of(error: dict[str, Any]) -> str:
    # The discriminator is the first part of the path.
    place = ".".join(str(part) for part in error["loc"][-1:])
    message = str(error["msg"])
    if error["type"] == "json_invalid":
        return f"The request is not JSON: {message}."
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        actions = "status, start, stop, restart, kill, suspend, resume, faults, fault, start_comparison, comparison"
        return f"The request has no known action. Known are: {actions}, stop_comparison."
    return f"{place}: {message}." if place else f"{message}."
