"""The route class of pages: problems that a form does not explain become redirects and pages instead of JSON."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse

from services.users.authentication.commands import SessionEnded
from services.users.authentication.dependencies import StepUpRequired
from services.users.pages.browser_session import HOME, SIGN_IN, SignInRequired, drop_tokens, redirect
from services.users.pages.forms import text_of
from services.users.pages.rendering import account_page
from shared.errors import Problem
from shared.http.problems import ValidationFailed

CONFIRM_IDENTITY = f"{HOME}/confirm-identity"
_MAX_PAGE_DEPTH = 2
"""Forms that are sent to a longer path, `/account/passkeys/{id}/remove`, are on the page `/account/passkeys`."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route that responds to people."""

    def get_route_handler(self) -> Handler:
        """Return the handler of requests."""
        handle = super().get_route_handler()

        async def handle_for_people(request: Request) -> Response:
            try:
                return await handle(request)
            except (SignInRequired, SessionEnded):
                drop_tokens(request)
                return _asking_at(SIGN_IN, request)
            except StepUpRequired:
                return _asking_at(CONFIRM_IDENTITY, request)
            except RequestValidationError:
                return _problem_page(ValidationFailed())
            except Problem as problem:
                return _problem_page(problem)

        return handle_for_people


def _asking_at(path: str, request: Request) -> RedirectResponse:
    """Return a redirect to a page that leads back, after a form to its empty page: the fields are lost."""
    return redirect(path, next=_page_of(request))


def _page_of(request: Request) -> str:
    """Return the path of the page with the form: the request's own, or that of the collection for an item's action."""
    path = request.url.path
    is_action = request.method == "POST" and path.count("/") > _MAX_PAGE_DEPTH
    return "/".join(path.split("/")[: _MAX_PAGE_DEPTH + 1]) if is_action else path


def _problem_page(problem: Problem) -> Response:
    return account_page(
        "problem.html",
        status=problem.status,
        headers={name: value for name, value in problem.headers.items() if name == "Retry-After"},
        title="The request failed",
        text=text_of(problem),
    )
