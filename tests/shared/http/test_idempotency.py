"""A request that is repeated with the same key has no second effect."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI, Header, Request
from pydantic import BaseModel, SecretBytes, SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import JSONResponse, Response

from shared.errors import Conflict
from shared.http.idempotency import IdempotencyKey, purge_idempotency_keys, run_idempotently
from shared.http.problems import install_problems
from tests.harness.asgi import client_of
from tests.harness.problems import problem

Sessions = async_sessionmaker[AsyncSession]


class NewThing(BaseModel):
    name: str
    password: SecretStr = SecretStr("")
    pin: SecretBytes = SecretBytes(b"")
    owner: UUID | None = None
    weight: Decimal = Decimal(0)
    sizes: set[int] = set()
    labels: dict[str, str] = {}


class Shop:
    """An application that inserts a row into `thing`; a cleared `gate` keeps the transaction open."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.fail = False
        self.app = FastAPI()
        install_problems(self.app)
        self.app.post("/v1/{place}/things")(self.add)

    async def add(
        self,
        place: str,
        body: NewThing,
        request: Request,
        key: IdempotencyKey = None,
        x_caller: Annotated[UUID | None, Header()] = None,
    ) -> Response:
        async def action(session: AsyncSession) -> Response:
            thing_id = uuid4()
            await session.execute(
                text("INSERT INTO thing VALUES (:id, :name, :at)"),
                {"id": thing_id, "name": body.name, "at": datetime.now(UTC)},
            )
            self.entered.set()
            await self.gate.wait()
            if self.fail:
                raise Conflict
            headers = {"Location": f"/v1/{place}/things/{thing_id}", "ETag": '"1"'}
            return JSONResponse({"id": str(thing_id)}, 201, headers=headers)

        return await run_idempotently(
            self.sessions, request=request, caller_id=x_caller, key=key, body=body, action=action
        )

    async def things(self) -> int:
        """Count the rows."""
        async with self.sessions() as session:
            return int(await session.scalar(text("SELECT count(*) FROM thing")) or 0)


@pytest.fixture
async def shop(sessions: Sessions) -> Shop:
    return Shop(sessions)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(shop.app) as opened:
        yield opened


async def post(
    client: httpx2.AsyncClient, key: str | None = "key-1", *, name: str = "chair", password: str = "", **headers: str
) -> httpx2.Response:
    given = {"Idempotency-Key": key} if key is not None else {}
    place = headers.pop("place", "here")
    body = {"name": name, "password": password}
    return await client.post(f"/v1/{place}/things", json=body, headers=given | headers)


async def test_a_repeated_request_gets_the_first_response_and_changes_nothing(
    client: httpx2.AsyncClient, shop: Shop
) -> None:
    first, second = await post(client), await post(client)
    assert first.status_code == second.status_code == 201
    assert second.json() == first.json()
    for name in ("location", "etag", "content-type", "content-length"):
        assert second.headers[name] == first.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert await shop.things() == 1


async def test_without_a_key_every_request_has_an_effect(client: httpx2.AsyncClient, shop: Shop) -> None:
    await post(client, None)
    await post(client, None)
    assert await shop.things() == 2


async def test_a_key_with_another_body_is_a_422(client: httpx2.AsyncClient, shop: Shop) -> None:
    await post(client, name="chair")
    response = await post(client, name="table")
    assert problem(response) == (422, "idempotency_key_reused")
    assert await shop.things() == 1


@pytest.mark.parametrize(
    ("field", "first", "second"),
    [
        ("password", "first", "second"),
        ("pin", "1111", "2222"),
        ("owner", str(UUID(int=1)), str(UUID(int=2))),
        ("weight", "1.5", "1.50001"),
        ("sizes", [1, 2], [1, 3]),
        ("labels", {"colour": "red"}, {"colour": "blue"}),
    ],
)
async def test_a_different_value_of_any_type_is_another_body(
    client: httpx2.AsyncClient, field: str, first: object, second: object
) -> None:
    headers = {"Idempotency-Key": "key-1"}
    await client.post("/v1/here/things", json={"name": "chair", field: first}, headers=headers)
    response = await client.post("/v1/here/things", json={"name": "chair", field: second}, headers=headers)
    assert problem(response) == (422, "idempotency_key_reused")


async def test_the_order_of_fields_and_sets_does_not_matter(client: httpx2.AsyncClient, shop: Shop) -> None:
    headers = {"Idempotency-Key": "key-1"}
    # 0 and 8 collide in the hash table of a small set, so such a set iterates in insertion order.
    bodies = [
        {"name": "chair", "sizes": [0, 8], "labels": {"colour": "red", "wood": "oak"}},
        {"labels": {"wood": "oak", "colour": "red"}, "sizes": [8, 0], "name": "chair"},
    ]
    answers = [await client.post("/v1/here/things", json=body, headers=headers) for body in bodies]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert await shop.things() == 1


async def test_a_version_that_knows_more_fields_finds_the_saved_response(
    client: httpx2.AsyncClient, shop: Shop
) -> None:
    """A request that is repeated during an upgrade may reach the other version."""

    class NewerThing(NewThing):
        colour: str = "none"

    async def add(
        place: str, body: NewerThing, request: Request, key: IdempotencyKey = None, x_caller: None = None
    ) -> Response:
        return await shop.add(place, body, request, key, x_caller)

    newer = FastAPI()
    install_problems(newer)
    newer.post("/v1/{place}/things")(add)

    first = await post(client)
    async with client_of(newer) as other_client:
        second = await post(other_client)
    assert (second.status_code, second.json()) == (201, first.json())
    assert await shop.things() == 1


@pytest.mark.parametrize("difference", [{"X-Caller": str(uuid4())}, {"place": "there"}, {"key": "key-2"}])
async def test_a_key_is_valid_for_one_caller_and_route_only(
    client: httpx2.AsyncClient, shop: Shop, difference: dict[str, str]
) -> None:
    await post(client)
    response = await post(client, **difference)
    assert "idempotency-replayed" not in response.headers
    assert await shop.things() == 2


async def test_a_request_whose_key_is_in_use_is_a_409(client: httpx2.AsyncClient, shop: Shop) -> None:
    shop.gate.clear()
    first = asyncio.create_task(post(client))
    await asyncio.wait_for(shop.entered.wait(), timeout=30)
    second = await asyncio.wait_for(post(client), timeout=30)
    assert problem(second) == (409, "idempotency_key_in_use")
    assert second.headers["retry-after"] == "1"
    shop.gate.set()
    assert (await first).status_code == 201
    assert (await post(client)).headers["idempotency-replayed"] == "true"
    assert await shop.things() == 1


async def test_one_of_many_concurrent_requests_has_an_effect(client: httpx2.AsyncClient, shop: Shop) -> None:
    responses = await asyncio.gather(*(post(client) for _ in range(12)))
    fresh = [r for r in responses if r.status_code == 201 and "idempotency-replayed" not in r.headers]
    assert len(fresh) == 1
    assert {r.status_code for r in responses} <= {201, 409}
    assert await shop.things() == 1


async def test_a_problem_saves_nothing_so_a_repeat_runs_again(client: httpx2.AsyncClient, shop: Shop) -> None:
    shop.fail = True
    assert (await post(client)).status_code == 409
    assert await shop.things() == 0
    shop.fail = False
    assert (await post(client)).status_code == 201


async def test_a_response_that_cannot_be_saved_rolls_the_effect_back(client: httpx2.AsyncClient, shop: Shop) -> None:
    async with shop.sessions.begin() as session:
        await session.execute(text("ALTER TABLE idempotency_key ADD CONSTRAINT never CHECK (status <> 201)"))
    with pytest.raises(Exception, match="never"):
        await post(client)
    assert await shop.things() == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "é".encode()])
async def test_a_key_must_be_visible_ascii_of_limited_length(client: httpx2.AsyncClient, key: str) -> None:
    response = await post(client, key)
    assert problem(response) == (422, "validation_failed")


async def test_a_nul_character_in_a_text_is_a_422(client: httpx2.AsyncClient) -> None:
    response = await post(client, name="a\0b")
    assert problem(response) == (422, "validation_failed")


async def test_the_table_contains_neither_key_nor_password(client: httpx2.AsyncClient, shop: Shop) -> None:
    await post(client, "a-secret-key", password="hunter2")
    async with shop.sessions() as session:
        stored = str((await session.execute(text("SELECT idempotency_key::text FROM idempotency_key"))).all())
    assert b"a-secret-key".hex() not in stored
    assert "a-secret-key" not in stored
    assert b"hunter2".hex() not in stored


async def test_old_keys_are_purged_in_batches(client: httpx2.AsyncClient, shop: Shop) -> None:
    for number in range(3):
        await post(client, f"old-{number}")
    async with shop.sessions.begin() as session:
        await session.execute(text("UPDATE idempotency_key SET created_at = now() - interval '25 hours'"))
    await post(client, "recent")
    purged = []
    for _ in range(3):
        async with shop.sessions.begin() as session:
            purged.append(
                await purge_idempotency_keys(session, before=datetime.now(UTC) - timedelta(hours=24), limit=2)
            )
    assert purged == [2, 1, 0]
    assert (await post(client, "recent")).headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in (await post(client, "old-0")).headers
