"""Checks of the machine itself. Only the standard library: .venv may not exist yet."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from deploy.compose.engine import ComposeError, engine_versions
from deploy.doctor.finding import Finding, missing, ok, optional
from deploy.doctor.project import uv_program
from deploy.local.kafka_jars import cache_folder
from deploy.local.listening import can_listen
from deploy.local.state import CHECKOUT, DEFAULT_FOLDER, running_pid

GIB = 1024**3
# For the packages, Kafka, and the data of some days.
MIN_DISK_BYTES = 2 * GIB
# A machine of 2 GiB: its kernel keeps some of it. The running system takes about 1 GiB; tests and an editor the rest.
MIN_MEMORY_BYTES = 7 * GIB // 4
COMMAND_TIMEOUT_SECONDS = 20
MAX_PORT = 65535

# The defaults of deploy/local/settings.py, which needs packages. A test compares the two.
PORTS = {
    "ORDERLY_GATEWAY_PORT": 8080,
    "ORDERLY_GATEWAY_HEALTH_PORT": 8081,
    "ORDERLY_USERS_PORT": 8001,
    "ORDERLY_ORDERS_PORT": 8002,
    "ORDERLY_NOTIFICATIONS_PORT": 8003,
    "ORDERLY_MAIL_PAGE_PORT": 8025,
    "ORDERLY_SMTP_PORT": 8026,
    "ORDERLY_USERS_POSTGRES_PORT": 15432,
    "ORDERLY_ORDERS_POSTGRES_PORT": 15433,
    "ORDERLY_NOTIFICATIONS_POSTGRES_PORT": 15434,
    "ORDERLY_VALKEY_PORT": 16379,
    "ORDERLY_KAFKA_PORT": 19092,
    "ORDERLY_KAFKA_CONTROLLER_PORT": 19093,
    "ORDERLY_AUDIT_PORT": 8004,
    **({"ORDERLY_CONSOLE_PORT": 8090, "ORDERLY_OTLP_PORT": 4318} if (CHECKOUT / "deploy" / "console").is_dir() else {}),
}


def system() -> Finding:
    """Report the operating system; deploy/doctor/__main__.py rejects one for which the servers have no wheels."""
    return ok("System", f"{platform.system()} on {platform.machine()}")


def python() -> Finding:
    """Report the version; deploy/doctor/__main__.py rejects an old one."""
    return ok("Python", f"{platform.python_version()} ({sys.executable})")


def installer() -> Finding:
    """Look for pip and venv: the Makefile installs uv with either of them."""
    if find_spec("pip") is not None:
        return ok("pip or venv", "pip")
    if find_spec("ensurepip") is not None and find_spec("venv") is not None:
        return ok("pip or venv", "venv")
    if uv_program().exists():
        return ok("pip or venv", f"not needed: {uv_program()} is installed")
    return missing("pip or venv", "Python has neither; on Debian and Ubuntu: apt install python3-venv")


def make() -> Finding:
    """Look for GNU make. Another make can't read the Makefile."""
    version = _first_line("make", "--version")
    if version is None:
        return missing("make", "on Debian and Ubuntu: apt install make; on macOS: xcode-select --install")
    if not version.startswith("GNU Make"):
        return missing("make", f"GNU make is needed, and `make` is {version or 'another one'}")
    return ok("make", version)


def git() -> Finding:
    """Look for git: tests ask it which files belong to the project."""
    version = _first_line("git", "--version")
    if version is None:
        return missing("git", "on Debian and Ubuntu: apt install git; on macOS: xcode-select --install")
    return ok("git", version.removeprefix("git version "))


def disk() -> Finding:
    """Check the free space for the checkout and for the cache, which may be on two disks."""
    free = {folder: shutil.disk_usage(_existing(folder)).free for folder in (CHECKOUT, cache_folder())}
    fullest = min(free, key=lambda folder: free[folder])
    found = f"{free[fullest] / GIB:.1f} GiB free in {fullest}"
    if free[fullest] < MIN_DISK_BYTES:
        hint = "set XDG_CACHE_HOME to move the cache" if fullest == cache_folder() else "free some space there"
        return missing("Disk", f"{found}, and {MIN_DISK_BYTES / GIB:.0f} GiB are needed: {hint}")
    return ok("Disk", found)


def memory() -> Finding:
    """Check the machine's total memory. Memory in use by other programs changes constantly and is not counted."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = f"{total / GIB:.1f} GiB"
    if total < MIN_MEMORY_BYTES:
        return missing("Memory", f"{found}, and 2 GiB are needed")
    return ok("Memory", found)


def ports() -> Finding:
    """Check that `make run` can listen on its ports. If the system is running, it holds them itself."""
    folder = Path(os.environ.get("ORDERLY_FOLDER") or DEFAULT_FOLDER)
    if pid := running_pid(folder):
        return ok("Ports", f"held by the running system (pid {pid}); see `make status`")
    settings = {name: os.environ.get(name) or str(default) for name, default in PORTS.items()}
    if invalid := [f"{name}={value}" for name, value in settings.items() if not _is_port(value)]:
        return missing("Ports", f"{', '.join(invalid)}: a port is a number from 1 to 65535")
    wanted = {name: int(value) for name, value in settings.items()}
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        wanted = {name: port for name, port in wanted.items() if not name.startswith("ORDERLY_KAFKA_")}
    taken = {name: port for name, port in wanted.items() if not can_listen(port)}
    if taken:
        names = ", ".join(f"{port} ({name})" for name, port in taken.items())
        return missing("Ports", f"another program listens on {names}; stop it, or set the variable to another port")
    return ok("Ports", f"all {len(wanted)} are free")


def docker() -> Finding:
    """Look for a Docker engine and its compose plugin. Only the containers need them."""
    try:
        engine, compose = engine_versions()
    except ComposeError as error:
        return optional("Docker", f"{error}. Only `make up` and `make test SERVERS=containers` need it")
    return ok("Docker", f"engine {engine}, compose {compose}")


def _first_line(*command: str) -> str | None:
    """Run a program and return the first line that it prints, or None if it is missing, fails or does not end."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip().partition("\n")[0] if run.returncode == 0 else None


def _is_port(text: str) -> bool:
    return text.isdecimal() and 1 <= int(text) <= MAX_PORT


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())
