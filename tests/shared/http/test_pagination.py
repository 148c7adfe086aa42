"""Pages contain every row once, in order, even if rows are added between requests."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, DateTime, Text, Uuid, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.http import pagination
from shared.http.pagination import CursorInvalid, Page, PageParams, page_of
from shared.http.problems import install_problems
from shared.http.request_context import RequestContextMiddleware
from shared.ids import new_id
from tests.harness.asgi import client_of
from tests.harness.problems import problem

Sessions = async_sessionmaker[AsyncSession]
MORNING = datetime(2026, 11, 1, 8, tzinfo=UTC)


class Declared(DeclarativeBase):
    pass


class Thing(Declared):
    __tablename__ = "thing"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def make_app(sessions: Sessions) -> FastAPI:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)

    @app.get("/things")
    async def by_time(request: Request, params: PageParams, name: str | None = None) -> Page[str]:
        query = select(Thing).order_by(Thing.made_at.desc(), Thing.id.desc())
        if name is not None:
            query = query.where(Thing.name.startswith(name))
        async with sessions() as session:
            return await page_of(session, query, request=request, params=params, map=lambda thing: thing.name)

    @app.get("/names")
    async def by_name(request: Request, params: PageParams) -> Page[str]:
        query = select(Thing.name, Thing.made_at).order_by(Thing.name, Thing.id)
        async with sessions() as session:
            return await page_of(
                session, query, request=request, params=params, map=lambda name, made_at: f"{name} {made_at:%H:%M}"
            )

    @app.get("/numbers")
    async def by_number(request: Request, params: PageParams) -> Page[str]:
        number = func.length(Thing.name).cast(BigInteger)
        query = select(Thing).order_by(number)
        async with sessions() as session:
            return await page_of(session, query, request=request, params=params, map=lambda thing: thing.name)

    return app


async def add(sessions: Sessions, *names: str, at: datetime = MORNING) -> None:
    async with sessions.begin() as session:
        session.add_all(
            Thing(id=new_id(), name=name, made_at=at + timedelta(minutes=number // 2))
            for number, name in enumerate(names)
        )


@pytest.fixture
async def client(sessions: Sessions) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app(sessions)) as opened:
        yield opened


async def walk(client: httpx2.AsyncClient, first_url: str) -> list[list[str]]:
    """Return the items of all pages, following the Link header."""
    pages, url = [], first_url
    while True:
        response = await client.get(url)
        assert response.status_code == 200, response.text
        pages.append(response.json()["items"])
        next_link = response.links.get("next")
        assert (next_link is None) == (response.json()["next_cursor"] is None)
        if next_link is None:
            return pages
        url = next_link["url"]


async def test_pages_contain_every_row_once_in_order(client: httpx2.AsyncClient, sessions: Sessions) -> None:
    await add(sessions, "a", "b", "c", "d", "e", "f", "g")
    assert await walk(client, "/things?limit=3") == [["g", "f", "e"], ["d", "c", "b"], ["a"]]


async def test_a_full_last_page_has_no_next_page(client: httpx2.AsyncClient, sessions: Sessions) -> None:
    await add(sessions, "a", "b", "c", "d")
    assert await walk(client, "/things?limit=2") == [["d", "c"], ["b", "a"]]


async def test_an_empty_list_is_one_empty_page(client: httpx2.AsyncClient) -> None:
    response = await client.get("/things")
    assert response.json() == {"items": [], "next_cursor": None}
    assert "link" not in response.headers


async def test_a_row_that_is_added_between_requests_does_not_shift_pages(
    client: httpx2.AsyncClient, sessions: Sessions
) -> None:
    await add(sessions, "a", "b", "c", "d")
    cursor = (await client.get("/things?limit=2")).json()["next_cursor"]
    await add(sessions, "new", at=MORNING + timedelta(days=1))
    assert (await client.get(f"/things?limit=2&cursor={cursor}")).json()["items"] == ["b", "a"]


async def test_the_link_keeps_the_filters(client: httpx2.AsyncClient, sessions: Sessions) -> None:
    await add(sessions, "b & c 1", "x", "b & c 2", "b & c 3")
    assert await walk(client, "/things?limit=1&name=b+%26+c") == [["b & c 3"], ["b & c 2"], ["b & c 1"]]


async def test_rows_of_several_columns_and_special_characters_are_paginated(
    client: httpx2.AsyncClient, sessions: Sessions
) -> None:
    names = ["", "a~b", 'comma,quote"', "line\nbreak", "ü~\\n", "x"]
    await add(sessions, *names)
    async with sessions() as session:
        in_order = (await session.scalars(text("SELECT name FROM thing ORDER BY name, id"))).all()
    assert [name[:-6] for page in await walk(client, "/names?limit=1") for name in page] == list(in_order)


def forged(bookmark: str) -> str:
    return base64.urlsafe_b64encode(bookmark.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        forged(">"),
        forged("<"),
        forged(">dt:2026-11-01 08:00:00+00:00"),
        forged(">dt:never~uuid:x"),
        forged(">i:1~i:2"),
        forged(">s:a~s:b"),
        forged(">x~x"),
        forged(">true~false"),
        forged(">dt:2026-11-01 08:00:00+00:00~i:99999999999999999999999999"),
        forged(">s:a\rb"),
        forged(">s:a\nb"),
        forged(">\n"),
        forged('>"'),
        forged(">dt:2026-11-01 08:00:00~uuid:01993b5e-0000-7000-8000-000000000000"),
        forged(">dt:2026-11-01 08:00:00+00:00~uuid:01993b5e000070008000000000000000"),
        forged(">dt:2026-11-01T08:00:00Z~uuid:01993b5e-0000-7000-8000-000000000000"),
        forged(">dt:0001-01-01 00:00:00+14:00~uuid:01993b5e-0000-7000-8000-000000000000"),
        forged(">dt:9999-12-31 23:59:59-12:00~uuid:01993b5e-0000-7000-8000-000000000000"),
        forged("<dt:2026-11-01 08:00:00+00:00~uuid:01993b5e-0000-7000-8000-000000000000"),
    ],
)
async def test_a_forged_cursor_is_a_422(client: httpx2.AsyncClient, sessions: Sessions, cursor: str) -> None:
    await add(sessions, "a", "b", "c")
    response = await client.get("/things", params={"cursor": cursor})
    assert problem(response) == (422, "cursor_invalid")


@pytest.mark.parametrize("place", ["i:99999999999999999999999999", "i:-9223372036854775809", "true", "f:1.0", "i:007"])
async def test_a_forged_number_is_a_422(client: httpx2.AsyncClient, place: str) -> None:
    response = await client.get("/numbers", params={"cursor": forged(f">{place}")})
    assert problem(response) == (422, "cursor_invalid")


@settings(deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from('><sifbndtxuue:~"\\\r\n\0 0123456789-+.é') | st.characters(codec="utf-8"), max_size=60
    )
)
def test_any_text_is_a_cursor_of_ours_or_invalid(bookmark: str) -> None:
    query = select(Thing).order_by(Thing.name, Thing.id)
    try:
        marker = pagination._marker_of(forged(bookmark), query)
    except CursorInvalid:
        return
    assert pagination._cursor_of(marker) == forged(bookmark)


@pytest.mark.parametrize("cursor", ["", "%ff%00", "é", "a\0", "a\n", "a" * 501])
async def test_a_cursor_with_other_characters_is_a_422(client: httpx2.AsyncClient, cursor: str) -> None:
    response = await client.get("/things", params={"cursor": cursor})
    assert problem(response) == (422, "validation_failed")


async def test_a_cursor_with_a_nul_character_is_a_422(client: httpx2.AsyncClient) -> None:
    cursor = forged(">s:a\0b~uuid:01993b5e-0000-7000-8000-000000000000")
    response = await client.get("/names", params={"cursor": cursor})
    assert problem(response) == (422, "cursor_invalid")


@pytest.mark.parametrize("limit", ["0", "101", "-1", "many"])
async def test_the_page_size_is_limited(client: httpx2.AsyncClient, limit: str) -> None:
    response = await client.get("/things", params={"limit": limit})
    assert problem(response) == (422, "validation_failed")


async def test_a_broken_query_with_a_valid_cursor_is_a_500(client: httpx2.AsyncClient, sessions: Sessions) -> None:
    await add(sessions, "a", "b")
    cursor = (await client.get("/things?limit=1")).json()["next_cursor"]
    async with sessions.begin() as session:
        await session.execute(text("ALTER TABLE thing DROP COLUMN made_at"))
    response = await client.get("/things", params={"cursor": cursor})
    assert response.status_code == 500


async def test_a_page_has_twenty_items_by_default(client: httpx2.AsyncClient, sessions: Sessions) -> None:
    await add(sessions, *[str(number) for number in range(25)])
    page: dict[str, Any] = (await client.get("/things")).json()
    assert len(page["items"]) == 20
