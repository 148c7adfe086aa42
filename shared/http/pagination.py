"""Keyset pagination: a stable order, an opaque cursor, and the URL of the next page in a Link header."""

import base64
import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

import asyncpg
from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field
from sqlakeyset import InvalidPage, Marker, serialize_bookmark, unserialize_bookmark
from sqlakeyset.asyncio import select_page
from sqlakeyset.columns import parse_ob_clause
from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Problem
from shared.http.problems import sent_path
from shared.http.request_context import add_response_header
from shared.http.route_limits import LISTS

ItemT = TypeVar("ItemT")
_DATA_EXCEPTION = "22"  # PostgreSQL's class of errors about values


class CursorInvalid(Problem):
    """The cursor is invalid for this list."""

    status = 422
    code = "cursor_invalid"


class Page(BaseModel, Generic[ItemT]):
    """One page of a list."""

    items: list[ItemT]
    next_cursor: str | None = Field(description="Pass it as `cursor` to get the next page; null on the last page.")


@dataclass(frozen=True)
class PageRequest:
    """The page that a request asks for; without a cursor, the first one."""

    limit: int
    cursor: str | None


async def page_request(
    limit: Annotated[int, Query(ge=1, le=100, description="The maximum number of items on the page.")] = 20,
    cursor: Annotated[
        str | None,
        Query(
            max_length=500,
            pattern=r"^[A-Za-z0-9_-]+$",
            description="The `next_cursor` of the previous page. Omit it for the first page.",
        ),
    ] = None,
    *,
    _limit: Annotated[None, Depends(LISTS)] = None,
) -> PageRequest:
    """Return the pagination parameters of a request. A route that uses them has the limit of lists."""
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
    """Return one page of a query and add its Link header. `map` makes an item from a row's columns.

    The query must be ordered by columns that are never null and unique together, or rows would be skipped.

    Raises: CursorInvalid.
    """
    marker = _marker_of(params.cursor, query) if params.cursor is not None else Marker()
    try:
        rows = await select_page(session, query, per_page=params.limit, page=marker)
    except (InvalidPage, StatementError) as error:
        if params.cursor is not None and _is_about_values(error):
            raise CursorInvalid from error
        raise
    cursor = _cursor_of(rows.paging.next) if rows.paging.has_next else None
    next_link(request, cursor)
    return Page(items=[map(*row) for row in rows], next_cursor=cursor)


def next_link(request: Request, cursor: str | None) -> None:
    """Add the Link header of a page that has a next one."""
    if cursor is not None:
        add_response_header(request, "Link", f'<{_next_url(request, cursor)}>; rel="next"')


def _cursor_of(marker: Marker) -> str:
    return base64.urlsafe_b64encode(serialize_bookmark(marker).encode()).decode().rstrip("=")


def _marker_of(cursor: str, query: Select[*tuple[Any, ...]]) -> Marker:
    """Return the place that a cursor names. Raises: CursorInvalid, also for a place that no page of ours ended at."""
    try:
        bookmark = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        marker = unserialize_bookmark(bookmark)
        is_ours = _cursor_of(marker) == cursor
    except (ValueError, csv.Error, StopIteration) as error:
        raise CursorInvalid from error
    if not is_ours or marker.place is None or marker.backwards:
        raise CursorInvalid
    columns = parse_ob_clause(query)
    if len(marker.place) != len(columns):
        raise CursorInvalid
    for value, column in zip(marker.place, columns, strict=True):
        is_naive = isinstance(value, datetime) and value.tzinfo is None
        if is_naive or type(value) is not column.comparable_value.type.python_type:
            raise CursorInvalid
    return marker


def _is_about_values(error: Exception) -> bool:
    """Return whether the values of the query caused the error, not the query itself.

    A forged cursor can hold a number that is too large, or a NUL character: only the driver or the database rejects it.
    """
    if not isinstance(error, DBAPIError):
        return True
    cause = getattr(error.orig, "__cause__", None)
    # The driver's own error about a value that it cannot encode has no code.
    is_of_driver = isinstance(cause, asyncpg.InterfaceError) and isinstance(cause, ValueError)
    return is_of_driver or str(getattr(error.orig, "sqlstate", "")).startswith(_DATA_EXCEPTION)


def _next_url(request: Request, cursor: str) -> str:
    """Return the URL of the page at the cursor, without the host: the gateway has another one."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{sent_path(request.scope)}?{urlencode([*others, ('cursor', cursor)])}"
