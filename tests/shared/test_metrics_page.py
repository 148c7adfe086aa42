"""docs/metrics.md has every metric, and no other."""

import re
import subprocess
import sys

from deploy.local.state import CHECKOUT

_NAMES = """
import services.notifications.app, services.orders.app, services.users.app, shared.otlp
from deploy.audit.metrics import AuditMetrics
from deploy.backup.metrics import BackupMetrics
from prometheus_client import REGISTRY
registries = [REGISTRY, AuditMetrics().registry, BackupMetrics([]).registry]
for metric in [metric for registry in registries for metric in registry.collect()]:
    print(metric.name + ("_total" if metric.type == "counter" else ""))
"""


def test_the_page_lists_every_metric() -> None:
    # In a process of its own, because tests and libraries have metrics too.
    printed = subprocess.run(
        [sys.executable, "-c", _NAMES], capture_output=True, text=True, check=True, cwd=CHECKOUT
    ).stdout.split()
    metrics = {name for name in printed if not name.startswith(("process_", "python_"))}
    page = (CHECKOUT / "docs/metrics.md").read_text()
    assert set(re.findall(r"^\| `(\w+)(?:\{[^}]*\})?` \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)) == metrics
