"""Rendering of the pages: server-side templates, and headers that keep a page's token and its forms to themselves."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent
_HEADERS = {
    "Cache-Control": "no-store",
    # The address of a page holds a one-time token.
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
}


def page(template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """Render a page. Raises: jinja2.UndefinedError for a value that the template needs."""
    html = _environment().get_template(template).render(values)
    return HTMLResponse(html, status, headers=_HEADERS)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
