"""The audit as a process of the local system."""

import re
import sys
from collections.abc import Mapping

from deploy.local.process import Program
from deploy.local.readiness import http_answers
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT


def audit_program(settings: LocalSettings, *, environment: Mapping[str, str]) -> Program:
    """Return the program that audits at an interval. `environment`: the databases, Kafka and the state file."""
    port = settings.audit_port
    return Program(
        name="audit",
        command=[sys.executable, "-m", "deploy.audit", "serve", f"--every={settings.audit_every_seconds:g}"],
        environment={
            "PYTHONPATH": str(CHECKOUT),
            **environment,
            "AUDIT_HTTP_HOST": "127.0.0.1",
            "AUDIT_HTTP_PORT": str(port),
            "AUDIT_GRACE_SECONDS": f"{settings.audit_grace_seconds:g}",
        },
        ready=lambda: http_answers(port, "/metrics"),
        address=settings.audit_url,
        notes="/findings, /metrics",
        echo=re.compile(r'"level": ?"(error|critical)"'),
    )
