"""The machine and the version that a report is about."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from deploy.local.state import CHECKOUT

GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Environment:
    """The place and time of a measurement."""

    date: str
    machine: str
    version: str

    @classmethod
    def here(cls) -> "Environment":
        """Describe this machine and this checkout now."""
        memory = psutil.virtual_memory().total / GIBIBYTE
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            machine=(
                f"{_processor()} with {os.cpu_count()} cores and {memory:.1f} GiB, {_system()},"
                f" CPython {platform.python_version()}"
            ),
            version=_version(),
        )


def _processor() -> str:
    """Return the processor's model as Linux names it, or what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _version() -> str:
    """Return the commit of the checkout, marked if something is changed; `unknown` in an image."""
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"
