"""The pages of the serving audit: /metrics for Prometheus, /findings for people and programs, as JSON."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import MetricsHandler

from deploy.audit.findings import Invariant, Violation
from deploy.audit.metrics import AuditMetrics
from deploy.audit.runs import Outcome
from deploy.audit.settings import AuditSettings
from deploy.audit.watermarks import State

FORMAT = 1
"""The version of the document. It grows by members; any other change raises the number."""


class FindingsPage:
    """The document of /findings. Runs replace it, while other threads read it."""

    def __init__(self) -> None:
        self._run: dict[str, Any] | None = None
        self._invariants = [_invariant(each, state="unknown", findings=[]) for each in Invariant]
        self._failed_runs = 0
        self._last_error: str | None = None

    def publish(self, outcome: Outcome, state: State) -> None:
        """Set the document to the outcome of a completed run."""
        by_invariant: dict[Invariant, list[Violation]] = {each: [] for each in Invariant}
        for violation in state.found:
            by_invariant[violation.invariant].append(violation)
        self._invariants = [
            _invariant(invariant, state=_state_of(found, state), findings=[_finding(each, state) for each in found])
            for invariant, found in by_invariant.items()
        ]
        self._run = {
            "mode": outcome.mode,
            "started_at": outcome.started_at.isoformat(),
            "completed_at": datetime.now(UTC).isoformat(),
            "seconds": round(outcome.seconds, 3),
            "checked": dict(sorted(Counter(outcome.checked).items())),
            "open": outcome.open,
            "skipped": outcome.skipped,
            "watermark_age_seconds": outcome.watermark_age_seconds,
        }
        self._last_error = None

    def failed(self, error: str) -> None:
        """Note a run that failed. The findings are those of the last completed one."""
        self._failed_runs += 1
        self._last_error = error

    def document(self) -> dict[str, Any]:
        """Return the values of JSON."""
        return {
            "version": FORMAT,
            "failed_runs": self._failed_runs,
            "last_error": self._last_error,
            "run": self._run,
            "invariants": self._invariants,
        }


@contextmanager
def served(settings: AuditSettings, metrics: AuditMetrics, page: FindingsPage) -> Iterator[int]:
    """Serve the pages in a thread, and yield their port."""

    class Handler(MetricsHandler.factory(metrics.registry)):  # type: ignore[misc]  # its base is made at run time
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            path = self.path.partition("?")[0]
            if path == "/findings":
                self._answer(200, page.document())
            elif path == "/metrics":
                super().do_GET()
            else:
                self._answer(404, {"detail": "there are /findings and /metrics"})

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET

    server = Server((settings.http_host, settings.http_port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _invariant(invariant: Invariant, *, state: str, findings: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": invariant.label, "rule": invariant.value, "state": state, "findings": findings}


def _state_of(found: list[Violation], state: State) -> str:
    if not found:
        return "green"
    return "accepted" if all(state.is_accepted(each) for each in found) else "violated"


def _finding(violation: Violation, state: State) -> dict[str, Any]:
    acceptance = state.accepted.get(violation.id) if state.is_accepted(violation) else None
    return {
        "id": violation.id,
        "kind": violation.key.kind.value,
        "key": violation.key.value,
        "text": violation.text,
        "command": violation.command,
        "first_found_at": state.first_found_at[violation.id].isoformat(),
        "accepted": None
        if acceptance is None
        else {"actor": acceptance.actor, "note": acceptance.note, "at": acceptance.at.isoformat()},
    }
