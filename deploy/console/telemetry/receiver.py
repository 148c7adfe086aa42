"""The receiver of traces and logs: OTLP/HTTP with protobuf bodies, bounded in size and rate.

Whoever reaches its port may send, so it listens where only the services can reach it. Pages of other sites cannot send:
a browser adds an Origin header to a POST, and asks before it sends protobuf.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable

import structlog
from google.protobuf.message import Message
from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.console.telemetry.decoding import Malformed, decode_logs, decode_spans
from deploy.console.telemetry.forwarding import MEDIA_TYPE, Forwarder
from deploy.console.telemetry.store import NotStored, TelemetryStore

logger = structlog.get_logger(__name__)

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Size of a body, compressed and decompressed: some 7,000 spans. Exporters send 512 at once."""
MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES
"""Larger bodies are not read to their end. A sender whose connection is closed may miss the reason, and try again."""
MAX_PENDING_BYTES = 4 * MAX_BODY_BYTES
"""Bodies that wait to be stored. Beyond this the exporters have to wait: the console would need more memory."""
MAX_BYTES_PER_SECOND = 2 * 1024 * 1024
"""Rate of decompressed bodies over a longer time, some 3,000 spans per second. It bounds the processor time."""
BURST_SECONDS = 5
"""Seconds of unused rate that a sender may use up at once."""
_RETRY_AFTER = {"Retry-After": "1"}


class _Rejected(Exception):
    """The request as a whole is rejected."""

    def __init__(self, status: int, code: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class Receiver:
    """Receives export requests, one after the other, and stores their records before it responds."""

    def __init__(
        self,
        store: TelemetryStore,
        *,
        forwarder: Forwarder | None = None,
        max_bytes_per_second: float = MAX_BYTES_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to store what is received. Traces are also passed on, if there is a forwarder."""
        self._store = store
        self._forwarder = forwarder
        self._turn = asyncio.Lock()
        self._pending_bytes = 0
        self._allowance = _Allowance(max_bytes_per_second, clock)
        self.app = Starlette(
            routes=[
                Route("/v1/traces", self._receive_traces, methods=["POST"]),
                Route("/v1/logs", self._receive_logs, methods=["POST"]),
            ]
        )

    async def _receive_traces(self, request: Request) -> Response:
        return await self._receive(request, self._store_spans)

    async def _receive_logs(self, request: Request) -> Response:
        return await self._receive(request, self._store_logs)

    async def _receive(self, request: Request, store: Callable[[bytes], Awaitable[Message]]) -> Response:
        try:
            _check_headers(request)
            return _response(200, await self._stored(request, store))
        except _Rejected as error:
            return _response(error.status, Status(code=error.code, message=str(error)), error.headers)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _stored(self, request: Request, store: Callable[[bytes], Awaitable[Message]]) -> Message:
        body = await _body_of(request)
        if self._pending_bytes + len(body) > MAX_PENDING_BYTES:
            raise _Rejected(503, UNAVAILABLE, "Too many requests wait to be stored.", headers=_RETRY_AFTER)
        self._pending_bytes += len(body)
        try:
            async with self._turn:
                is_compressed = request.headers.get("content-encoding") == "gzip"
                content = await asyncio.to_thread(_decompressed, body) if is_compressed else body
                if not self._allowance.take(len(content)):
                    raise _Rejected(429, RESOURCE_EXHAUSTED, "More than can be stored.", headers=_RETRY_AFTER)
                return await store(content)
        except Malformed as error:
            raise _Rejected(400, INVALID_ARGUMENT, str(error)) from error
        except NotStored as error:
            message = "The records could not be stored."
            raise _Rejected(503, UNAVAILABLE, message, headers=_RETRY_AFTER) from error
        finally:
            self._pending_bytes -= len(body)

    async def _store_spans(self, body: bytes) -> ExportTraceServiceResponse:
        decoded = await asyncio.to_thread(decode_spans, body)
        await self._store.add_spans(decoded.records)
        if self._forwarder is not None:
            self._forwarder.forward(body)
        response = ExportTraceServiceResponse()
        if decoded.rejected:
            logger.warning("spans_rejected", count=decoded.rejected, reason=decoded.reason)
            response.partial_success.rejected_spans = decoded.rejected
            response.partial_success.error_message = decoded.reason
        return response

    async def _store_logs(self, body: bytes) -> ExportLogsServiceResponse:
        decoded = await asyncio.to_thread(decode_logs, body)
        await self._store.add_log_records(decoded.records)
        response = ExportLogsServiceResponse()
        if decoded.rejected:
            logger.warning("log_records_rejected", count=decoded.rejected, reason=decoded.reason)
            response.partial_success.rejected_log_records = decoded.rejected
            response.partial_success.error_message = decoded.reason
        return response


class _Allowance:
    """Bytes that may be received now: a token bucket."""

    def __init__(self, bytes_per_second: float, clock: Callable[[], float]) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._max_bytes = max(bytes_per_second * BURST_SECONDS, MAX_BODY_BYTES)
        self._bytes = self._max_bytes
        self._at = clock()

    def take(self, size: int) -> bool:
        """Take this many bytes, if there are as many."""
        now = self._clock()
        self._bytes = min(self._max_bytes, self._bytes + (now - self._at) * self._bytes_per_second)
        self._at = now
        if size > self._bytes:
            return False
        self._bytes -= size
        return True


def _check_headers(request: Request) -> None:
    headers = request.headers
    if "origin" in headers or "sec-fetch-site" in headers:
        raise _Rejected(403, PERMISSION_DENIED, "Browsers may not send telemetry.")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise _Rejected(415, INVALID_ARGUMENT, f"Send {MEDIA_TYPE}.")
    if headers.get("content-encoding", "identity") not in {"identity", "gzip"}:
        raise _Rejected(415, INVALID_ARGUMENT, "Compress the body by gzip, or not at all.")
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large(is_read=int(announced) < MAX_DISCARDED_BYTES)


def _too_large(*, is_read: bool) -> _Rejected:
    """Return the rejection of a body. Unless the server is to read and discard the rest, it closes the connection."""
    message = f"A body may have {MAX_BODY_BYTES} bytes, also decompressed."
    return _Rejected(413, INVALID_ARGUMENT, message, headers={} if is_read else {"Connection": "close"})


async def _body_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large(is_read=False)
    return bytes(body)


def _decompressed(body: bytes) -> bytes:
    """Return the content of a gzip file. Raises: Malformed, _Rejected."""
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = decompressor.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise Malformed("The body is not compressed by gzip.") from error
    if len(content) > MAX_BODY_BYTES:
        raise _too_large(is_read=True)
    if not decompressor.eof or decompressor.unused_data:
        raise Malformed("The body is not one complete gzip member.")
    return content


def _response(status: int, content: Message, headers: dict[str, str] | None = None) -> Response:
    return Response(content.SerializeToString(), status, headers=headers, media_type=MEDIA_TYPE)
