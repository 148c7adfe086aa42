"""TCP ports on the loopback address: choose free ones, and report those that are in use."""

import random
import time
from collections.abc import Mapping

import psutil

from deploy.local.listening import can_listen
from deploy.local.process import LocalError

# The kernel uses higher ports for outgoing connections: one that was free may be in use a moment later.
BELOW_EPHEMERAL = range(20_000, 32_000)


_given: set[int] = set()


class PortTaken(LocalError):
    """Another process listens on a port of the system."""


def free_port() -> int:
    """Return a random port on which no process listens now, and which this process has not been given before."""
    while True:
        port = random.choice(BELOW_EPHEMERAL)  # noqa: S311 - no secret
        if port not in _given and can_listen(port):
            if len(_given) > len(BELOW_EPHEMERAL) // 2:
                _given.clear()
            _given.add(port)
            return port


def check_ports_are_free(ports: Mapping[str, int], *, timeout_seconds: float = 0) -> None:
    """Check ports, each by the name of its setting; wait up to `timeout_seconds` until they are free.

    Raises: PortTaken, with each port, the process that uses it, and the setting that changes it.
    """
    deadline = time.monotonic() + timeout_seconds
    while taken := {setting: port for setting, port in ports.items() if not can_listen(port)}:
        if time.monotonic() > deadline:
            lines = [
                f"Port {port} is in use{_by_whom(port)}. Set {setting} to choose another port."
                for setting, port in taken.items()
            ]
            raise PortTaken("\n".join(lines))
        time.sleep(0.1)


def _by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr[1] == port
                and connection.pid
            ):
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
