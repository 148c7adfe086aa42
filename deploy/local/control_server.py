"""The control socket: answers requests of this machine's user while the local system runs."""

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter

from deploy.local.control_protocol import MAX_REQUEST_BYTES, ControlError, Request, parse_request
from deploy.local.tcp_server import TcpServer

MAX_PATH_BYTES = 100
"""The longest path of a Unix socket, rounded down: 104 bytes on macOS and 108 on Linux, with the final zero."""

Handle = Callable[[Request], Awaitable[object]]
"""Does what a request asks for, and returns models. Raises: ControlError."""

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
logger = structlog.get_logger(__name__)


class ControlServer:
    """Serves requests on a Unix socket that only its owner can use."""

    def __init__(self, folder: Path, handle: Handle) -> None:
        """Listen in `folder`, or if its path is too long in a temporary folder, once it is opened."""
        self._handle = handle
        self._temporary: Path | None = None
        self._folder = folder.absolute()
        self.path = self._folder / "control.sock"
        self._server = TcpServer(self._serve)

    async def open(self) -> None:
        """Listen. Replaces the socket of a system that was killed; the folder's lock says that none runs."""
        if len(os.fsencode(self.path)) > MAX_PATH_BYTES:
            self._temporary = Path(tempfile.mkdtemp(prefix="orderly-"))
            self.path = self._temporary / "control.sock"
        self.path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            listening.bind(str(self.path))
        finally:
            os.umask(mask)
        listening.listen(16)
        self._server.accept_from(listening)

    async def close(self) -> None:
        """Cut the connections, and remove the socket."""
        await self._server.close()
        self.path.unlink(missing_ok=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    message = f"The request is longer than {MAX_REQUEST_BYTES} bytes."
                    await _send(writer, _failure(ControlError("bad_request", message)))
                    return
                if not line:
                    return
                await _send(writer, await self._answer(line))

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            result = await self._handle(parse_request(line))
        except ControlError as error:
            return _failure(error)
        except Exception as error:
            # A mistake of ours, or a server that went away in between. The system keeps running.
            logger.exception("control_request_failed")
            return _failure(ControlError("failed", f"{type(error).__name__}: {error}"))
        return {"ok": True, "result": _ANY.dump_python(result, mode="json")}


def _failure(error: ControlError) -> dict[str, object]:
    return {"ok": False, "error": {"code": error.code, "message": str(error)}}


async def _send(writer: asyncio.StreamWriter, answer: dict[str, object]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
