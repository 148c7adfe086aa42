"""Ports: free ones to choose, and taken ones to complain about."""

import random
import socket
import time
from collections.abc import Mapping
from contextlib import closing

import psutil

from deploy.local.process import LocalError

# The kernel gives higher ones to outgoing connections: a port found free there may be gone a moment later.
BELOW_EPHEMERAL = range(20_000, 32_000)


class PortTaken(LocalError):
    """Another process listens where one of ours should."""


def free_port() -> int:
    """A port on the loopback address that nobody listens on now."""
    while not _can_listen(port := random.choice(BELOW_EPHEMERAL)):  # noqa: S311 - no secret
        pass
    return port


def check_ports_are_free(ports: Mapping[str, int], *, timeout_seconds: float = 0) -> None:
    """Check the ports by the names of their settings. `timeout_seconds` is for what a killed run leaves behind.

    Raises: PortTaken, naming every port, the setting that moves it, and who holds it.
    """
    deadline = time.monotonic() + timeout_seconds
    while taken := {setting: port for setting, port in ports.items() if not _can_listen(port)}:
        if time.monotonic() > deadline:
            lines = [
                f"Port {port} is taken{_by_whom(port)}. Set {setting} to use another."
                for setting, port in taken.items()
            ]
            raise PortTaken("\n".join(lines))
        time.sleep(0.1)


def _can_listen(port: int) -> bool:
    with closing(socket.socket()) as probe:
        # As servers do: connections of the past that are still in TIME_WAIT don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True


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
