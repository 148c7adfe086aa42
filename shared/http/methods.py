"""Methods of paths: HEAD wherever there is GET, and 405 where a path without parameters has no such method.

Starlette's router knows neither: without this, `DELETE /v1/sessions/refresh` would be matched with
`/v1/sessions/{session_id}`, and the response would say that `refresh` is no id.
"""

from collections.abc import Collection, Mapping
from functools import cached_property

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http.problems import MethodNotAllowed, problem_response, with_head


class MethodsMiddleware:
    """Runs a HEAD as a GET whose body is dropped, and responds with 405 for the application's paths without parameters.

    Add it first, so that it is the innermost.
    """

    def __init__(self, app: ASGIApp, *, application: FastAPI) -> None:
        self._app = app
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = self._methods_by_path.get(scope["path"])
        if allowed is not None and scope["method"] not in allowed:
            await problem_response(MethodNotAllowed(allowed), scope=scope)(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @cached_property
    def _methods_by_path(self) -> Mapping[str, Collection[str]]:
        """The methods of each path without parameters. Computed with the first request: then all routes are added."""
        found: dict[str, set[str]] = {}
        for route in iter_route_contexts(self._application.routes):
            if route.path and route.methods and "{" not in route.path:
                found.setdefault(route.path, set()).update(with_head(route.methods))
        return found

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_body(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif not message.get("more_body"):
                await send({"type": "http.response.body"})

        # In place, not in a copy: the router notes the matched route in this scope, which names it in metrics.
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, send_without_body)
        finally:
            scope["method"] = "HEAD"
