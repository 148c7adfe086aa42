"""The route class of pages: a problem becomes a page or a redirect to the sign-in instead of JSON."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse

from deploy.console.access.operator import SignInRequired
from deploy.console.rendering import page
from shared.errors import Problem
from shared.http.problems import ValidationFailed

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route that responds to people."""

    def get_route_handler(self) -> Handler:
        """Return the handler of requests."""
        handle = super().get_route_handler()

        async def handle_for_people(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInRequired:
                back = request.url.path if request.method == "GET" else "/"
                return RedirectResponse(f"/sign-in?{urlencode({'next': back})}", 303)
            except RequestValidationError:
                return _problem_page(ValidationFailed())
            except Problem as problem:
                return _problem_page(problem)

        return handle_for_people


def _problem_page(problem: Problem) -> Response:
    return page("problem.html", status=problem.status, title=problem.title, detail=problem.detail)
