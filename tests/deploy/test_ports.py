"""A taken port is an error that says all there is to know."""

import os
import socket
from contextlib import closing

import pytest

from deploy.local.ports import PortTaken, check_ports_are_free, free_port


def test_a_taken_port_is_named_with_its_setting_and_its_holder() -> None:
    free = free_port()
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]

        with pytest.raises(PortTaken) as problem:
            check_ports_are_free({"ORDERLY_KAFKA_PORT": free, "ORDERLY_GATEWAY_PORT": taken})

    assert f"Port {taken} is taken by " in str(problem.value)
    assert f"(pid {os.getpid()})" in str(problem.value)
    assert "Set ORDERLY_GATEWAY_PORT to use another." in str(problem.value)
    assert "ORDERLY_KAFKA_PORT" not in str(problem.value)


def test_a_port_that_was_closed_a_moment_ago_is_free() -> None:
    port = free_port()
    with closing(socket.create_server(("127.0.0.1", port))) as holder, socket.create_connection(("127.0.0.1", port)):
        holder.accept()[0].close()

    check_ports_are_free({"ORDERLY_GATEWAY_PORT": port})
