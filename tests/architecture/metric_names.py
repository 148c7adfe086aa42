"""The metrics that exist, and those that a PromQL expression names."""

import re
import subprocess
import sys
from functools import cache

from tests.architecture.source import CHECKOUT

# In a process of its own, because tests and libraries have metrics too.
_PRINT_PAGES = """
import services.notifications.app, services.orders.app, services.users.app, shared.otlp
from deploy.audit.metrics import AuditMetrics
from deploy.backup.metrics import BackupMetrics
from pathlib import Path
from prometheus_client import REGISTRY, generate_latest
backup = BackupMetrics(["users"], archive=Path("."))
for registry in (REGISTRY, AuditMetrics().registry, backup.registry):
    print(generate_latest(registry).decode(), end="")
"""
GATEWAY = frozenset(
    {
        "traefik_open_connections",
        "traefik_service_request_duration_seconds",
        "traefik_service_requests_total",
        "traefik_tls_certs_not_after",
    }
)
"""Traefik's metrics that rules and boards use. It exports each once it has a value."""
OF_PROMETHEUS = frozenset({"up", "ALERTS"})
_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})


@cache
def metrics_pages() -> str:
    """Return the pages /metrics of the services, of the audit and of the scheduler of backups, as they begin."""
    command = [sys.executable, "-c", _PRINT_PAGES]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT).stdout


def own_metrics() -> dict[str, str]:
    """Return the types of all metrics of this project by name. Those of the library are left out."""
    found = dict(re.findall(r"^# TYPE (\S+) (\w+)$", metrics_pages(), flags=re.MULTILINE))
    return {name: kind for name, kind in found.items() if not name.startswith(("process_", "python_"))}


def existing_series() -> set[str]:
    """Return the names of all time series that Prometheus gets from the system."""
    found = dict(re.findall(r"^# TYPE (\S+) (\w+)$", metrics_pages(), flags=re.MULTILINE))
    histograms = {name for name, kind in found.items() if kind == "histogram"}
    histograms.add("traefik_service_request_duration_seconds")
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    return {*found, *parts, *GATEWAY, *OF_PROMETHEUS} - histograms


def series_in(expression: str) -> set[str]:
    """Return the names of the time series that a PromQL expression reads."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", text)
    text = re.sub(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    names = re.findall(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)(?!\w*\s*\()", text)
    return {name for name in names if name.lower() not in _KEYWORDS}
