"""Keyset pages: a stable order, an opaque cursor, and the next page's address in a Link header."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field
from sqlakeyset import BadBookmark, InvalidPage, Marker, serialize_bookmark, unserialize_bookmark
from sqlakeyset.asyncio import select_page
from sqlakeyset.columns import parse_ob_clause
from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Problem
from shared.http.request_context import add_response_header

ItemT = TypeVar("ItemT")


class CursorInvalid(Problem):
    """The cursor is not one that this list gave out."""

    status = 422
    code = "cursor_invalid"


class Page(BaseModel, Generic[ItemT]):
    items: list[ItemT]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


@dataclass(frozen=True)
class PageRequest:
    limit: int
    cursor: str | None


async def page_request(
    limit: Annotated[int, Query(ge=1, le=100, description="How many items a page holds.")] = 20,
    cursor: Annotated[str | None, Query(max_length=500, description="The `next_cursor` of the page before.")] = None,
) -> PageRequest:
    return PageRequest(limit, cursor)


PageParams = Annotated[PageRequest, Depends(page_request)]


async def page_of(
    session: AsyncSession,
    query: Select[*tuple[Any, ...]],
    *,
    request: Request,
    params: PageRequest,
    map: Callable[..., ItemT],  # noqa: A002 - what it does
) -> Page[ItemT]:
    """`query` must be ordered by columns that are never null and together unique; `map` gets a row's columns."""
    place = _marker_of(params.cursor, query) if params.cursor is not None else Marker()
    try:
        rows = await select_page(session, query, per_page=params.limit, page=place)
    except (InvalidPage, StatementError) as error:
        if params.cursor is not None and _blames_the_values(error):
            raise CursorInvalid from error
        raise
    cursor = _cursor_of(rows.paging.next) if rows.paging.has_next else None
    if cursor is not None:
        add_response_header(request, "Link", f'<{_address_of(request, cursor)}>; rel="next"')
    return Page(items=[map(*row) for row in rows], next_cursor=cursor)


def _cursor_of(marker: Marker) -> str:
    return base64.urlsafe_b64encode(serialize_bookmark(marker).encode()).decode().rstrip("=")


def _marker_of(cursor: str, query: Select[*tuple[Any, ...]]) -> Marker:
    try:
        bookmark = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        marker = unserialize_bookmark(bookmark)
    except (BadBookmark, ValueError) as error:
        raise CursorInvalid from error
    if marker.place is None or marker.backwards:
        raise CursorInvalid
    for value, column in zip(marker.place, parse_ob_clause(query), strict=False):
        if not isinstance(value, column.comparable_value.type.python_type):
            raise CursorInvalid
    return marker


def _blames_the_values(error: Exception) -> bool:
    """A forged cursor can hold too large a number or a NUL: only driver and database see that."""
    if isinstance(error, DBAPIError):
        return str(getattr(error.orig, "sqlstate", "")).startswith("22")
    return True


def _address_of(request: Request, cursor: str) -> str:
    """Relative to the host, so that it holds behind any gateway."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.url.path}?{urlencode([*others, ('cursor', cursor)])}"
