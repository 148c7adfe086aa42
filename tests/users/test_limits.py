"""Limits of sign-up, sign-in and refresh by host, site and target."""

import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from services.users.app import create_app
from services.users.credentials.limits import email_target
from services.users.settings import Settings
from tests.harness.asgi import client_of
from tests.harness.problems import problem
from tests.users.service import ADA, PASSWORD, UsersService

HOST = "192.0.2.1"


@asynccontextmanager
async def limited(settings: Settings, **limits: Any) -> AsyncIterator[UsersService]:
    app = create_app(settings.model_copy(update=limits))
    async with client_of(app, address=HOST) as client:
        yield UsersService(app, client)
    await app.state.sessions.kw["bind"].dispose()
    await app.state.cache.close()


async def sign_up(service: UsersService, email: str, *, address: str = HOST) -> httpx2.Response:
    async with client_of(service.app, address=address) as http:
        return await http.post("/v1/users", json=ADA | {"email": email})


async def test_taken_addresses_can_not_be_harvested_from_one_host(settings: Settings) -> None:
    async with limited(settings, sign_up_limit_per_host="2/hour") as service:
        responses = [await sign_up(service, f"user{n}@orderly.example") for n in range(3)]
        elsewhere = await sign_up(service, "user9@orderly.example", address="192.0.2.2")

    assert [response.status_code for response in responses] == [201, 201, 429]
    assert problem(responses[2]) == (429, "rate_limited")
    assert 3_590 <= int(responses[2].headers["retry-after"]) <= 3_600
    assert elsewhere.status_code == 201
    fields = [field for field in responses[0].headers.get_list("ratelimit") if "sign-up" in field]
    assert [field.partition(";t=")[0] for field in fields] == ['"sign-up-host";r=1', '"sign-up-site";r=199']
    assert '"sign-up-host";q=2;w=3600' in responses[0].headers.get_list("ratelimit-policy")


@pytest.mark.parametrize(
    ("same", "other"),
    [(["192.0.2.7", "192.0.2.8"], "192.0.3.1"), (["2001:db8:1:2::1", "2001:db8:1:3::1"], "2001:db8:2::1")],
)
async def test_the_hosts_of_a_site_are_counted_together(settings: Settings, same: list[str], other: str) -> None:
    async with limited(settings, sign_up_limit_per_site="1/hour") as service:
        statuses = [
            (await sign_up(service, f"user{n}@orderly.example", address=address)).status_code
            for n, address in enumerate([*same, other])
        ]

    assert statuses == [201, 429, 201]


async def test_sign_ups_with_one_address_are_limited_in_any_spelling(settings: Settings) -> None:
    async with limited(settings, sign_up_limit_per_email="2/hour") as service:
        spellings = ["admin@orderly.example", "ADMIN@orderly.example", "admİn@orderly.example"]
        responses = [await sign_up(service, email, address=f"198.51.{n}.1") for n, email in enumerate(spellings)]
        other = await sign_up(service, "other@orderly.example")

    assert [response.status_code for response in responses] == [201, 409, 429]
    assert "target" not in str(responses[0].headers)
    assert other.status_code == 201


async def test_a_rejected_request_counts_on_none_of_its_limits(settings: Settings) -> None:
    async with limited(settings, sign_up_limit_per_host="1/hour", sign_up_limit_per_email="1/hour") as service:
        await sign_up(service, "first@orderly.example")
        rejected = await sign_up(service, "second@orderly.example")
        elsewhere = await sign_up(service, "second@orderly.example", address="198.51.100.1")

    assert (rejected.status_code, elsewhere.status_code) == (429, 201)


async def test_where_many_clients_share_an_address_only_targets_are_limited(settings: Settings) -> None:
    limits = {
        "sign_up_limit_per_host": "1/hour",
        "sign_up_limit_per_site": "1/hour",
        "sign_up_limit_per_email": "1/hour",
    }
    async with limited(settings, **limits) as service:
        emails = ["one@orderly.example", "two@orderly.example", "two@orderly.example"]
        statuses = [(await sign_up(service, email, address="172.18.0.1")).status_code for email in emails]

    assert statuses == [201, 201, 429]


async def test_sign_ins_and_refreshes_are_limited(settings: Settings) -> None:
    limits = {"sign_in_limit_per_host": "2/minute", "refresh_limit_per_token": "1/minute"}
    async with limited(settings, **limits) as service:
        await service.sign_up()
        tokens = [await service.sign_in() for _ in range(2)]
        third = await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD})
        refreshes = [
            (await service.http.post("/v1/sessions/refresh", json={"refresh_token": token})).status_code
            for token in (tokens[0]["refresh_token"], tokens[0]["refresh_token"], tokens[1]["refresh_token"])
        ]

    assert problem(third) == (429, "rate_limited")
    assert refreshes == [200, 429, 200]


async def test_an_addresss_key_is_one_for_all_spellings_that_the_database_compares_as_equal(
    service: UsersService,
) -> None:
    lowered = sa.text(
        "SELECT chr(n), lower(chr(n)) FROM generate_series(1, 1114111) AS n"
        " WHERE n NOT BETWEEN 55296 AND 57343 AND lower(chr(n)) <> chr(n)"
    )
    async with service.sessions() as session:
        pairs = [tuple(row) for row in await session.execute(lowered)]

    # Of the letters that this Python knows. It refuses addresses with others, which a newer PostgreSQL may know.
    known = [pair for pair in pairs if "Cn" not in map(unicodedata.category, pair)]
    assert len(known) > 1_000
    assert [pair for pair in known if email_target(pair[0]) != email_target(pair[1])] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("sign_up_limit_per_host", "many"), ("sign_in_failures_minutes", 5), ("password_min_strength", 9)],
)
def test_settings_out_of_range_are_refused(settings: Settings, name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate(settings.model_dump() | {name: value})
