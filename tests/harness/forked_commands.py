"""Commands of the services, each in a process forked from one that has imported the libraries.

Starting Python takes a second of processor time, nearly all of it for imports of libraries. A forked process has them.
It imports the services' own modules itself, so a command that lacks an import fails. Like any process it has an
environment, a standard output and an exit status of its own.
"""

import asyncio
import atexit
import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from deploy.local.state import CHECKOUT

LIBRARIES = (
    "aiokafka",
    "alembic.command",
    "asyncpg",
    "fastapi",
    "faststream.kafka",
    "httpx2",
    "joserfc.jwe",
    "joserfc.jwt",
    "orjson",
    "pgqueuer",
    "prometheus_client",
    "pydantic_settings",
    "redis.asyncio",
    "rich.table",
    "sqlakeyset",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.ext.asyncio",
    "structlog",
    "typer",
    "uvicorn",
)
MAX_REQUEST_BYTES = 128 * 1024
"""More than an environment; less than the buffer of a socket."""


async def run_forked(module: str, *arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run `python -m module` with more environment variables, and return its exit status, stdout and stderr."""
    request = {"module": module, "arguments": arguments, "environment": {**os.environ, **environment}}
    status, output, errors = await asyncio.to_thread(_answer, json.dumps(request).encode())
    return status, output.decode(), errors.decode()


def _answer(request: bytes) -> tuple[int, bytes, bytes]:
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
    ):
        connection.connect(_parent_of_commands())
        socket.send_fds(connection, [request], [output.fileno(), errors.fileno()])
        status = int(connection.recv(16))
        for file in (output, errors):
            file.seek(0)
        return status, output.read(), errors.read()


@cache
def _parent_of_commands() -> str:
    """Start the process that commands are forked from, which ends with this one; return the address of its socket."""
    folder = tempfile.TemporaryDirectory(prefix="orderly-commands-")
    address = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.forked_commands", address],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    @atexit.register
    def end() -> None:
        process.communicate()
        folder.cleanup()

    assert process.stdout is not None
    assert process.stdout.readline() == b"listening\n"
    return address


def _next_command(address: str) -> tuple[dict[str, Any], list[int]] | None:
    """Return a request and its files in each process that is forked for one; return None when stdin is closed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        print("listening", flush=True)  # noqa: T201 - the process that has started this one waits for it
        while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    return _forked_command(connection)
    return None


def _forked_command(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return in a new process, which runs the command; in this one, wait for its exit status, send it and exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, files, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 2)
    command = os.fork()
    if command == 0:
        return json.loads(request), files
    _, status = os.waitpid(command, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(module: str, arguments: list[str], environment: dict[str, str], files: list[int]) -> None:
    """Run a module with a standard output and an environment of its own, as `python -m` does."""
    for stream, file in zip((1, 2), files, strict=True):
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    random.seed()  # the processes would all have the same random numbers
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(address: str) -> None:
    """Import the libraries and serve. A forked process goes on to its command, and ends as any process does."""
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing waits for the processes that answer
    if command := _next_command(address):
        request, files = command
        _run(**request, files=files)


if __name__ == "__main__":
    main(sys.argv[1])
