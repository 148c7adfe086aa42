"""Lists, look-ups and sign-ins run the same statements with 100,000 users as with 1,000, and read no more blocks."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
import sqlalchemy as sa

from shared.connection_urls import dsn_of
from tests.harness.databases import execute_as_owner
from tests.harness.executed_statements import Executed, executed_with_arguments
from tests.harness.explained import blocks_read
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.service import PASSWORD, UsersService

SMALL, LARGE = 1_000, 100_000
MAX_MORE_BLOCKS = 6
"""A larger index has one or two levels more, and the rows of a page lie in more blocks of the table."""

# Copies of one account, whatever columns it has: 2 % are suspended, 2 % support, 1 % admins, in a random order.
_COPY = sa.text("""
    INSERT INTO user_account
    SELECT copy.* FROM user_account AS account,
    generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n,
    LATERAL (SELECT hashint4(n) AS mixed) AS random,
    LATERAL jsonb_populate_record(account, jsonb_build_object(
        'id', md5(n::text)::uuid, 'email', 'user' || n || '@orderly.example',
        'status', CASE WHEN mixed % 50 = 0 THEN 'suspended' ELSE 'active' END,
        'roles', CASE mixed % 49 WHEN 0 THEN '["support"]'::jsonb WHEN 1 THEN '["admin"]' ELSE '["customer"]' END,
        'created_at', account.created_at + mixed * interval '1 ms'
    )) AS copy
    WHERE account.id = :original
""")
_COPY_CREDIT = sa.text("""
    INSERT INTO credit_account
    SELECT copy.* FROM credit_account AS account,
    generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n,
    LATERAL jsonb_populate_record(account, jsonb_build_object('user_id', md5(n::text)::uuid)) AS copy
    WHERE account.user_id = :original
""")
LISTS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "active": {"status": "active"},
    "suspended": {"status": "suspended"},
    "customers": {"role": "customer"},
    "support": {"role": "support"},
    "admins": {"role": "admin"},
    "created after": {"created_after": "2020-01-01T00:00:00Z"},
    "created before": {"created_before": "2030-01-01T00:00:00Z"},
    "suspended customers": {"status": "suspended", "role": "customer"},
    "address": {"email": "USER77@orderly.example"},
    "prefix": {"email_prefix": "User7"},
    "unknown address": {"email": "nobody@orderly.example"},
    "unknown prefix": {"email_prefix": "zzz"},
}


async def add_users(service: UsersService, original: str, first: int, last: int) -> None:
    numbers = {"original": original, "first": first, "last": last}
    async with service.sessions.begin() as session:
        await session.execute(_COPY, numbers)
        await session.execute(_COPY_CREDIT, numbers)
    await execute_as_owner(service.sessions, "VACUUM (ANALYZE) user_account", "VACUUM (ANALYZE) credit_account")


READ_BY_THE_CLOCK = ("signing_key", "revoked_session")
"""Tables that a process reads again each second, whatever it is asked."""


async def send_requests(service: UsersService, original: str) -> AsyncIterator[tuple[str, list[Executed]]]:
    """Send each request, and yield its name with the statements that it has executed."""
    header = await service.header_with("admin", email=f"{original}@staff.example")
    engine = service.sessions.kw["bind"]
    paths = {name: ("/v1/users", {"limit": 5, **params}) for name, params in LISTS.items()}
    paths |= {"user": (f"/v1/users/{original}", {}), "credit": (f"/v1/users/{original}/credit", {})}
    for name, (path, params) in paths.items():
        with executed_with_arguments(engine) as statements:
            page = await service.http.get(path, params=params, headers=header)
        assert page.status_code == 200, page.text
        yield name, statements
        if "next" in page.links:
            with executed_with_arguments(engine) as statements:
                await service.http.get(page.links["next"]["url"], headers=header)
            yield f"{name}, next page", statements
    for name, email, status in (("sign-in", "ada@orderly.example", 201), ("failed sign-in", "no@orderly.example", 401)):
        with executed_with_arguments(engine) as statements:
            response = await service.http.post("/v1/sessions", json={"email": email, "password": PASSWORD})
        assert response.status_code == status, response.text
        yield name, statements


async def measure(service: UsersService, original: str) -> dict[str, dict[str, int]]:
    """Return the blocks that each request's queries read, by request and statement; 0 for what writes."""
    url = service.sessions.kw["bind"].url.render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn_of(url))
    measured: dict[str, dict[str, int]] = {}
    async for name, statements in send_requests(service, original):
        measured[name] = {
            each.sql: await blocks_read(connection, each) if each.sql.startswith("SELECT") else 0
            for each in statements
            if not any(table in each.sql for table in READ_BY_THE_CLOCK)
        }
    await connection.close()
    return measured


async def test_100_000_users_cost_no_more_than_1_000(service: UsersService) -> None:
    original = str((await service.sign_up(email="ada@orderly.example"))["id"])
    await service.sign_in()  # from now on, the device is known
    await add_users(service, original, 2, SMALL)
    small = await measure(service, original)
    await execute_as_owner(service.sessions, "DELETE FROM user_account WHERE email LIKE '%@staff.example'")
    await add_users(service, original, SMALL + 1, LARGE)
    large = await measure(service, original)

    assert large.keys() == small.keys()
    assert {name: [*large[name]] for name in large} == {name: [*small[name]] for name in small}
    more = {
        (name, sql): (small[name][sql], blocks)
        for name, statements in large.items()
        for sql, blocks in statements.items()
        if blocks > small[name][sql] + MAX_MORE_BLOCKS
    }
    assert more == {}
    assert all(sum(statements.values()) > 0 for statements in large.values())
    await check_filtered_prefixes(service)


async def check_filtered_prefixes(service: UsersService) -> None:
    """Check that at most 10,000 addresses with a prefix are read for another filter: no index has both conditions."""
    header = await service.header_with("admin", email="auditor@staff.example")
    for others in ({"status": "suspended"}, {"role": "admin"}, {"created_after": "2020-01-01T00:00:00Z"}):
        response = await service.http.get("/v1/users", params={"email_prefix": "user7", **others}, headers=header)
        assert problem(response) == (422, "email_prefix_too_short")
    params: dict[str, Any] = {"email_prefix": "user77", "status": "suspended", "limit": 100}
    listed = (await service.http.get("/v1/users", params=params, headers=header)).json()["items"]
    stored = await Rows(service.sessions).of(
        "SELECT email FROM user_account WHERE email LIKE 'user77%' AND status = 'suspended' ORDER BY email LIMIT 100"
    )
    assert [(user["email"],) for user in listed] == stored != []
