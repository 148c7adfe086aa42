"""An open loop of prepared HTTP requests over plain sockets: cheap, since it shares the machine with the service."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from tests.bench.arrivals import arrival_times

TIMEOUT_SECONDS = 30.0
"""An answer that takes longer counts as none."""
NO_ANSWER = 0
"""The status of a request without an answer."""


@dataclass(frozen=True)
class Answer:
    """The answer to one request. Its latency is counted from the planned arrival, also if it was sent later."""

    at: float
    """The planned arrival in seconds from the beginning."""
    seconds: float
    status: int
    code: str | None = None
    """The problem's code, if it is an error."""
    retry_after: str | None = None


def prepared(method: str, path: str, *, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of a request. Underscores in the headers' names stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class OpenLoop:
    """Sends requests at their times over as many connections as it needs, whether or not earlier ones are answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []

    async def run(self, request_of: Callable[[int], bytes], *, per_second: float, seconds: float) -> list[Answer]:
        """Send request number 0, 1, ... at random times; return all answers in the order of their arrival times."""
        return await self.run_at(request_of, arrival_times("overload", per_second=per_second, seconds=seconds))

    async def run_at(self, request_of: Callable[[int], bytes], times: Sequence[float]) -> list[Answer]:
        """Send a request at each of these times, in seconds from now."""
        begun = time.perf_counter()
        tasks: list[asyncio.Task[Answer]] = []
        for number, at in enumerate(times):
            if (wait := begun + at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(self._send(request_of(number), begun=begun, at=at)))
        return await asyncio.gather(*tasks)

    async def run_in_turn(self, request_of: Callable[[int], bytes], *, clients: int, seconds: float) -> list[Answer]:
        """Let each client send its next request once the last one is answered: a closed loop."""
        begun, numbers, answers = time.perf_counter(), count(), list[Answer]()

        async def send() -> None:
            while (at := time.perf_counter() - begun) < seconds:
                answers.append(await self._send(request_of(next(numbers)), begun=begun, at=at))

        await asyncio.gather(*(send() for _ in range(clients)))
        return answers

    def close(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _send(self, request: bytes, *, begun: float, at: float) -> Answer:
        status, code, retry_after = NO_ANSWER, None, None
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while self._idle and (connection is None or connection.is_closed):
                    connection = self._idle.pop()
                if connection is None or connection.is_closed:
                    loop = asyncio.get_running_loop()
                    _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
                status, code, retry_after = await connection.send(request)
                self._idle.append(connection)
        except (OSError, TimeoutError):
            if connection is not None:
                connection.close()
        return Answer(at, time.perf_counter() - begun - at, status, code, retry_after)


class _Connection(asyncio.Protocol):
    """One connection, which has at most one request in flight."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[tuple[int, str | None, str | None]] | None = None
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature of asyncio
        self.is_closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(fields[b"content-length"]):
            return
        status = int(head[9:12])
        code = body.partition(b'"code":"')[2].partition(b'"')[0].decode() if status >= 400 else None
        retry_after = fields.get(b"retry-after")
        self._answer.set_result((status, code, retry_after.decode() if retry_after else None))

    async def send(self, request: bytes) -> tuple[int, str | None, str | None]:
        """Send a request; return status, problem code and Retry-After of its answer. Raises: ConnectionResetError."""
        assert self._transport is not None
        self._received, self._answer = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def statuses(answers: Sequence[Answer]) -> Counter[tuple[int, str | None]]:
    """Count the answers by status and problem code."""
    return Counter((answer.status, answer.code) for answer in answers)
