"""A bound on request bodies, kept whether or not the client announces their length."""

from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http.problems import BodyTooLarge, problem_response

MAX_BODY_BYTES = 1024 * 1024


class _LimitExceeded(Exception):
    pass


class BodyLimitMiddleware:
    def __init__(self, app: ASGIApp, *, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.max_bytes:
            await problem_response(BodyTooLarge(), scope=scope)(scope, receive, send)
            return
        await self._pass_on_counted(scope, receive, send)

    async def _pass_on_counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0
        answering = False

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise _LimitExceeded
            return message

        async def checked_send(message: Message) -> None:
            nonlocal answering
            # FastAPI makes a 400 of the body that broke off: ours is the better answer.
            if received <= self.max_bytes or answering:
                answering = True
                await send(message)

        with suppress(_LimitExceeded):
            await self.app(scope, counted_receive, checked_send)
        if received > self.max_bytes and not answering:
            await problem_response(BodyTooLarge(), scope=scope)(scope, receive, send)
