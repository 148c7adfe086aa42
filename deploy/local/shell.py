"""A shell on the running system, in which the documented commands of the services and of the audit work."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from deploy.local.credentials import SERVICES
from deploy.local.services import Services
from deploy.local.state import audit_environment


def become_shell(services: Services, state: dict[str, Any], *, command: str | None) -> NoReturn:
    """Replace this process by the user's shell, or by a command, with the settings of the running system."""
    environment = {**os.environ, **audit_environment(services.settings.folder, state)}
    for service in SERVICES:
        environment |= services.environment(service)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    shell = os.environ.get("SHELL", "/bin/sh")
    arguments = [shell] if command is None else ["/bin/sh", "-c", command]
    os.execve(arguments[0], arguments, environment)  # noqa: S606 - it is a shell that is asked for
