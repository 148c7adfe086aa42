"""Rendering of the pages: server-side templates, and headers that keep a page's content and its forms to themselves."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent
_HEADERS = {
    "Cache-Control": "no-store",
    # The address of a page may hold a one-time token.
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}


def page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    """Render a page, by default without navigation. Raises: jinja2.UndefinedError for a value that it needs."""
    html = _environment().get_template(template).render({"place": None, **values})
    return HTMLResponse(html, status, headers={**_HEADERS, **(headers or {})})


def account_page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    """Render a page whose address holds no secret: browsers may tell the origin of its forms, which is checked."""
    return page(template, status=status, headers={"Referrer-Policy": "same-origin", **(headers or {})}, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["time"] = _shown_time
    return environment


def _shown_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"
