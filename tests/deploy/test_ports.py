"""Ports that are in use are reported with everything that the user needs to know."""

import os
import socket
from contextlib import closing

import pytest

from deploy.local.ports import PortTaken, check_ports_are_free, free_port


def test_a_port_in_use_is_reported_with_its_setting_and_its_process() -> None:
    free = free_port()
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]

        with pytest.raises(PortTaken) as error:
            check_ports_are_free({"ORDERLY_KAFKA_PORT": free, "ORDERLY_GATEWAY_PORT": taken})

    assert f"Port {taken} is in use by " in str(error.value)
    assert f"(pid {os.getpid()})" in str(error.value)
    assert "Set ORDERLY_GATEWAY_PORT to choose another port." in str(error.value)
    assert "ORDERLY_KAFKA_PORT" not in str(error.value)


def test_a_port_with_connections_in_time_wait_is_free() -> None:
    port = free_port()
    with closing(socket.create_server(("127.0.0.1", port))) as holder, socket.create_connection(("127.0.0.1", port)):
        holder.accept()[0].close()

    check_ports_are_free({"ORDERLY_GATEWAY_PORT": port})


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(500)]

    assert len(set(ports)) == 500
