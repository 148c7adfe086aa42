"""The Docker engine and its compose plugin: whether they are here and new enough, and how to call them.

Only the standard library: `make up` and `make doctor` need no virtual environment.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

COMPOSE_FILE = Path(__file__).parents[1] / "compose.yaml"
# The oldest versions on which the stack was tried. Before engine 25, health checks have no start_interval.
MIN_ENGINE = (25, 0)
MIN_COMPOSE = (2, 26)
INSTALL = "see https://docs.docker.com/engine/install/"
TIMEOUT_SECONDS = 20


class ComposeError(Exception):
    """The stack cannot be used. The message says why, and how to go on."""


def project_name() -> str:
    """Return the name of the stack, which two clones on one engine must not share."""
    return os.environ.get("COMPOSE_PROJECT_NAME") or "orderly"


def engine_versions() -> tuple[str, str]:
    """Return the versions of the engine and of its compose plugin. Raises: ComposeError if either is missing or old."""
    if shutil.which("docker") is None:
        raise ComposeError(f"Docker is not installed; {INSTALL}")
    engine = _first_line("docker", "version", "--format", "{{.Server.Version}}")
    if engine is None:
        raise ComposeError("No Docker engine answers: start it, and check that you may use it (`docker version`)")
    compose = _first_line("docker", "compose", "version", "--short")
    if compose is None:
        raise ComposeError(f"Docker lacks its compose plugin (`docker compose version` fails); {INSTALL}")
    for what, version, least in (("engine", engine, MIN_ENGINE), ("compose plugin", compose, MIN_COMPOSE)):
        if _numbers(version) < least:
            wanted = ".".join(map(str, least))
            raise ComposeError(f"Docker's {what} is {version}, and {wanted} or newer is needed; {INSTALL}")
    return engine, compose


def compose_command(*arguments: str, with_file: bool = False) -> list[str]:
    """Return a command of `docker compose`. Most work by the stack's name; building and starting need its file."""
    file = ["--file", str(COMPOSE_FILE)] if with_file else []
    return ["docker", "compose", "--project-name", project_name(), *file, *arguments]


def lines_of(*command: str) -> list[str]:
    """Run a command and return the lines that it prints. Raises: ComposeError with its last words if it fails."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ComposeError(f"`{' '.join(command)}` failed: {run.stderr.strip()}")
    return run.stdout.splitlines()


def objects_of_project(kind: Sequence[str], format: str) -> list[str]:  # noqa: A002 - the name of Docker's option
    """List the project's containers, volumes or images, such as `("volume", "ls")`, a line each."""
    label = f"label=com.docker.compose.project={project_name()}"
    return lines_of("docker", *kind, "--filter", label, "--format", format)


def _first_line(*command: str) -> str | None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip().partition("\n")[0] if run.returncode == 0 and run.stdout.strip() else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
