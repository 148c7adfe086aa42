"""One second of a load, as the process that sends the requests prints it."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Decision:
    """An order that is decided. All times are Unix times."""

    status: str
    sent_at: float
    """The time at which the POST was sent, by the clock of this machine, as is `answered_at`."""
    answered_at: float
    created_at: float
    """The time of the order's first entry in its timeline, by the clock of the target, as is `decided_at`."""
    decided_at: float


@dataclass(frozen=True)
class SlowRequest:
    """A slow request, and the id of its trace."""

    route: str
    milliseconds: float
    trace_id: str


@dataclass
class Second:
    """The events of about a second. Requests count in the second in which they ended."""

    elapsed: float = 0
    """Seconds since the last one."""
    requests: dict[str, list[float]] = field(default_factory=dict)
    """Latencies in milliseconds by route."""
    errors: Counter[str] = field(default_factory=Counter)
    """Requests by route, status and code, or the kind of the transport error."""
    expected_errors: Counter[str] = field(default_factory=Counter)
    """The same for answers that a rule of the shop explains."""
    slowest: SlowRequest | None = None
    placed: int = 0
    """Orders that were answered with 201."""
    decisions: list[Decision] = field(default_factory=list)
    """Orders that were found decided."""
    left_out: int = 0
    """Journeys that did not begin, because too many were open."""
    late_milliseconds: float = 0
    """The longest time from when a journey should have begun until it did. Open loop only."""
    in_flight: int = 0
    """Journeys that have begun and not ended."""
    cpu: float = 0
    """Share of a core that the process used."""
    outbox_age_seconds: float | None = None
    """Age of the oldest event in any outbox, where /metrics can be read. The process that reads them adds it."""
    consumer_lag: float | None = None
    """Records that consumers have not applied yet, from the same source."""

    def dumps(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(vars(self), separators=(",", ":"), default=asdict)

    @classmethod
    def loads(cls, line: str | bytes) -> "Second":
        """Read it from a line of JSON."""
        values = json.loads(line)
        values["errors"], values["expected_errors"] = Counter(values["errors"]), Counter(values["expected_errors"])
        values["slowest"] = SlowRequest(**values["slowest"]) if values["slowest"] else None
        values["decisions"] = [Decision(**each) for each in values["decisions"]]
        return cls(**values)
