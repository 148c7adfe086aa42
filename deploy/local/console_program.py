"""The console as a process of the local system."""

import re
import sys
from pathlib import Path

from deploy.local.credentials import Credentials
from deploy.local.process import Program
from deploy.local.readiness import http_answers
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT


def console_program(
    settings: LocalSettings, *, services: Services, credentials: Credentials, control_socket: Path
) -> Program:
    """Return the program of the console, on which people watch and control the system."""
    port = settings.console_port
    return Program(
        name="console",
        command=[sys.executable, "-m", "deploy.console", "serve"],
        environment={
            "PYTHONPATH": str(CHECKOUT),
            "CONSOLE_HTTP_PORT": str(port),
            "CONSOLE_OTLP_PORT": str(settings.otlp_port),
            "CONSOLE_FOLDER": str((settings.folder / "console").absolute()),
            "CONSOLE_CONTROL_SOCKET": str(control_socket),
            "CONSOLE_USERS_URL": services.url_of("users"),
            "CONSOLE_ORDERS_URL": services.url_of("orders"),
            "CONSOLE_NOTIFICATIONS_URL": services.url_of("notifications"),
            "CONSOLE_AUDIT_URL": settings.audit_url,
            "CONSOLE_LOCAL_ADMIN_PASSWORD_FILE": str(credentials.admin_password_file.absolute()),
            # Its own requests would be most of the lines on its page of logs.
            "CONSOLE_LOG_LEVEL": "warning",
            "CONSOLE_LOGS_FOLDER": str(settings.logs.absolute()),
        },
        ready=lambda: http_answers(port, "/health/live"),
        address=settings.console_url,
        notes="the console: what runs, where an order is, break it",
        echo=re.compile("WARNING|ERROR|CRITICAL"),
    )
