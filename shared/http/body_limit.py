"""A limit on the size of request bodies, enforced with and without a Content-Length header."""

from collections.abc import Mapping
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http.problems import BodyTooLarge, problem_response

MAX_BODY_BYTES = 1024 * 1024
"""A request body is read into memory as a whole; a higher limit lets a client use more of it."""


class _LimitExceeded(Exception):
    pass


class BodyLimitMiddleware:
    """Responds with 413 as soon as more than `max_bytes` are announced or received."""

    def __init__(
        self, app: ASGIApp, *, max_bytes: int = MAX_BODY_BYTES, larger: Mapping[str, int] | None = None
    ) -> None:
        """Limit the bodies of all paths to `max_bytes`, but those of the paths in `larger` to their own limits."""
        self.app = app
        self.max_bytes = max_bytes
        self._larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        max_bytes = self._larger.get(scope["path"], self.max_bytes)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > max_bytes:
            await problem_response(BodyTooLarge(), scope=scope)(scope, receive, send)
            return
        await self._call_with_counted_body(scope, receive, send, max_bytes=max_bytes)

    async def _call_with_counted_body(self, scope: Scope, receive: Receive, send: Send, *, max_bytes: int) -> None:
        received = 0
        has_responded = False

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise _LimitExceeded
            return message

        async def checked_send(message: Message) -> None:
            nonlocal has_responded
            # FastAPI turns the interrupted body into a 400: drop that response, so that the client gets the 413.
            if received <= self.max_bytes or has_responded:
                has_responded = True
                await send(message)

        with suppress(_LimitExceeded):
            await self.app(scope, counted_receive, checked_send)
        if received > max_bytes and not has_responded:
            await problem_response(BodyTooLarge(), scope=scope)(scope, receive, send)
