"""Check whether a port is free. Only the standard library: `make doctor` imports it before there is a .venv."""

import socket


def can_listen(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback address now."""
    with socket.socket() as probe:
        # Servers set this too: closed connections that are still in TIME_WAIT don't prevent them from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True
