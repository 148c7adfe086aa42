"""Rendering of the pages: server-side templates, whose styles and script come from the console itself."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zlib import crc32

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent
PLACES = (
    ("/", "System"),
    ("/flow", "Flow"),
    ("/orders", "Where is my order?"),
    ("/traces", "Traces"),
    ("/logs", "Logs"),
    ("/dead-letters", "Dead letters"),
    ("/stuck", "Stuck"),
    ("/invariants", "Invariants"),
    ("/break-it", "Break it"),
    ("/exports", "Export"),
)
"""The pages of the navigation, by path."""
_COLOURS = {"gateway": 0, "users": 1, "orders": 2, "notifications": 3}
"""Numbers of colours; 4 and 5 are those of all other processes."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}


def page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    """Render a page. `place`, the path in the navigation, is None for a page without navigation.

    Raises: jinja2.UndefinedError for a value that it needs.
    """
    html = _environment().get_template(template).render({"place": None, "places": PLACES, **values})
    return HTMLResponse(html, status, headers={**_HEADERS, **(headers or {})})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clock=_clock, bytes=_shown_bytes, seconds=_shown_seconds)
    environment.filters.update(milliseconds=_shown_milliseconds, value=_shown_value, colour=_colour)
    return environment


def _clock(moment: datetime) -> str:
    """Return the time of day, which the script turns into the browser's own zone."""
    return f"{moment.astimezone(UTC):%H:%M:%S} UTC"


def _shown_bytes(size: float) -> str:
    return f"{size / 1_000_000:.0f} MB" if size >= 1_000_000 else f"{size / 1_000:.0f} kB"


def _shown_seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _shown_milliseconds(milliseconds: float) -> str:
    if milliseconds < 10:
        return f"{milliseconds:.2f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else _shown_seconds(milliseconds / 1_000)


def _shown_value(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _colour(service: str) -> int:
    """Return the number of the colour of a service or another process, which is the same on all pages."""
    return _COLOURS.get(service, 4 + crc32(service.encode()) % 2)
