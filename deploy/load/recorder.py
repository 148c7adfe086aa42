"""Records the requests and orders of each second. Runs under gevent, whose greenlets never run at once: no locks."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.load.routes import is_expected
from deploy.load.second import Second, SlowRequest


@dataclass
class Recorder:
    """Collects the present second. `in_flight`: journeys that have begun and not ended."""

    in_flight: int = 0
    second: Second = field(default_factory=Second)
    _cpu_seconds: float = field(default_factory=time.process_time)
    _at: float = field(default_factory=time.monotonic)

    def on_request(
        self,
        *,
        request_type: str,
        name: str,
        response_time: float,
        response: Any,
        exception: Exception | None,
        context: Mapping[str, Any],
        **_rest: object,
    ) -> None:
        """Record a request that has ended: a listener of locust's event."""
        route, second = f"{request_type} {name}", self.second
        second.requests.setdefault(route, []).append(round(response_time, 2))
        if second.slowest is None or response_time > second.slowest.milliseconds:
            second.slowest = SlowRequest(route, round(response_time, 1), context["trace_id"])
        if exception is not None:
            status, code = int(getattr(response, "status_code", 0) or 0), problem_code(response)
            described = f"{route}: {status} {code}" if status else f"{route}: {_described(exception)}"
            (second.expected_errors if is_expected(route, code) else second.errors)[described] += 1

    def next_second(self) -> Second:
        """Return the second that ends now, and begin the next one."""
        now, cpu_seconds, ended = time.monotonic(), time.process_time(), self.second
        ended.elapsed = round(now - self._at, 3)
        ended.cpu = round((cpu_seconds - self._cpu_seconds) / max(now - self._at, 0.001), 3)
        ended.in_flight = self.in_flight
        self.second, self._cpu_seconds, self._at = Second(), cpu_seconds, now
        return ended


def problem_code(response: Any) -> str:
    """Return the code of a problem (RFC 9457), or a dash if the body has none."""
    try:
        return str(json.loads(response.text)["code"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "-"


def _described(error: Exception) -> str:
    """Return the kind of a transport error. locust wraps the one that says what happened."""
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return "timeout" if "timed out" in str(cause) or isinstance(cause, TimeoutError) else type(cause).__name__
