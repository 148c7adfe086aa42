"""The sign-in of a deployed console, by password and, where the account has one, a second factor."""

import re
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from deploy.console.access.deployed import drop_tokens, keep_tokens
from deploy.console.access.tokens import TokenPair, answer_challenge, sign_in
from deploy.console.dependencies import ServicesDep
from deploy.console.rendering import page
from shared.errors import Problem

router = APIRouter(include_in_schema=False)

_OWN_PATH = re.compile(r"/[a-z0-9/_-]*")


@router.get("/sign-in")
async def sign_in_page(next: str = "/") -> HTMLResponse:  # noqa: A002 - the parameter's name
    """Show the form."""
    return page("sign_in.html", next=_own(next), challenge=None, error=None)


@router.post("/sign-in")
async def handle_sign_in(
    request: Request,
    services: ServicesDep,
    *,
    email: Annotated[str, Form()],
    password: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """Sign in, or ask for the second factor."""
    try:
        pair = await sign_in(services, email=email, password=password)
    except Problem as problem:
        if challenge := problem.extra.get("challenge"):
            return page("sign_in.html", next=_own(next), challenge=challenge, error=None)
        return page("sign_in.html", next=_own(next), challenge=None, error=problem.title, status=problem.status)
    return _signed_in(request, pair, next)


@router.post("/sign-in/second-factor")
async def handle_second_factor(
    request: Request,
    services: ServicesDep,
    *,
    challenge: Annotated[str, Form()],
    code: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """Complete the sign-in by the second factor."""
    try:
        pair = await answer_challenge(services, challenge, code=code.strip())
    except Problem as problem:
        return page("sign_in.html", next=_own(next), challenge=challenge, error=problem.title, status=problem.status)
    return _signed_in(request, pair, next)


@router.post("/sign-out")
async def sign_out(request: Request) -> RedirectResponse:
    """Remove the tokens from the browser."""
    drop_tokens(request)
    return RedirectResponse("/sign-in", 303)


def _signed_in(request: Request, pair: TokenPair, path: str) -> RedirectResponse:
    keep_tokens(request, pair)
    return RedirectResponse(_own(path), 303)


def _own(path: str) -> str:
    return path if _OWN_PATH.fullmatch(path) else "/"
