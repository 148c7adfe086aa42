"""The security record: admins filter it, users read their own entries, and nobody changes it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.security_record import SecurityEvent
from services.users.security_record.commands import ANONYMOUS, SYSTEM, Origin, append
from services.users.security_record.queries import RecordFilter, security_events_newest_first
from tests.harness.databases import execute_as_owner
from tests.harness.problems import problem
from tests.users.service import UsersService

START = datetime(2026, 1, 1, tzinfo=UTC)
# 20,000 entries of 1,000 users, half of them of one kind by one actor, one a minute.
_FILL = sa.text("""
    INSERT INTO security_event (user_id, kind, actor, details, occurred_at)
    SELECT CAST(lpad((n % 1000)::text, 32, '0') AS uuid),
           CASE WHEN n % 2 = 0 THEN 'signed_in' WHEN n % 1000 = 1 THEN 'erased' ELSE 'sign_in_failed' END,
           CASE WHEN n % 2 = 0 THEN 'system' ELSE 'admin ' || n % 500 END,
           '{}', CAST(:start AS timestamptz) + n * interval '1 minute'
    FROM generate_series(1, 20000) AS n
""")


async def entries(service: UsersService, header: dict[str, str], **params: Any) -> list[dict[str, Any]]:
    response = await service.http.get("/v1/security-events", params=params, headers=header)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def test_an_entry_has_the_change_its_actor_and_the_origin_of_the_request(service: UsersService) -> None:
    admin = await service.header_with("admin")
    account = await service.create_account()
    path = f"/v1/users/{account.id}/roles"
    await service.http.put(path, json={"roles": ["support"]}, headers=admin | {"User-Agent": "shop-desk/1"})

    (entry,) = await entries(service, admin, kind="roles_changed")

    assert entry == {
        "id": entry["id"],
        "user_id": str(account.id),
        "kind": "roles_changed",
        "actor": (await service.http.get("/v1/users/me", headers=admin)).json()["id"],
        "address": "127.0.0.1",
        "user_agent": "shop-desk/1",
        "details": {"roles": ["support"], "previous_roles": ["customer"]},
        "occurred_at": entry["occurred_at"],
    }


async def test_each_filter_selects_its_entries_newest_first_in_pages(service: UsersService) -> None:
    admin = await service.header_with("admin")
    async with service.sessions.begin() as session:
        await session.execute(_FILL, {"start": START})
    user = str(UUID("0" * 30 + "42"))
    first, last = START + timedelta(minutes=100), START + timedelta(minutes=103)

    of_user = await entries(service, admin, user_id=user, limit=100)
    assert [entry["kind"] for entry in of_user] == ["signed_in"] * 20
    assert of_user == sorted(of_user, key=lambda entry: entry["occurred_at"], reverse=True)
    assert {entry["actor"] for entry in await entries(service, admin, actor="admin 7")} == {"admin 7"}
    assert len(await entries(service, admin, kind="erased", limit=100)) == 20
    between = await entries(service, admin, occurred_after=first.isoformat(), occurred_before=last.isoformat())
    assert [entry["occurred_at"] for entry in between] == [f"2026-01-01T01:4{minute}:00Z" for minute in (2, 1, 0)]
    assert await entries(service, admin, user_id=user, kind="erased") == []
    page = await service.http.get(f"/v1/security-events?user_id={user}&limit=12", headers=admin)
    rest = await service.http.get(page.links["next"]["url"], headers=admin)
    assert page.json()["items"] + rest.json()["items"] == of_user
    assert rest.json()["next_cursor"] is None


FILTERS = [
    (RecordFilter(), "occurred_at"),
    (RecordFilter(user_id=UUID(int=0x42)), "user_id"),
    (RecordFilter(actor="admin 7"), "actor"),
    (RecordFilter(kind="erased"), "kind"),
    (RecordFilter(occurred_after=START, occurred_before=START + timedelta(hours=1)), "occurred_at"),
    (RecordFilter(kind="erased", occurred_before=START + timedelta(days=9)), "kind"),
]


async def test_each_filter_reads_one_page_from_its_index(service: UsersService) -> None:
    async with service.sessions.begin() as session:
        await session.execute(_FILL, {"start": START})
    await execute_as_owner(service.sessions, "ANALYZE security_event")
    for wanted, column in FILTERS:
        async with service.sessions() as session:
            plan = await plan_of(session, security_events_newest_first(wanted).limit(3))
        assert f"using ix_security_event_{column}" in plan, plan
        assert "Sort" not in plan, plan
        assert "Seq Scan" not in plan, plan


async def plan_of(session: AsyncSession, query: sa.Select[Any]) -> str:
    compiled = query.compile(dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True})
    lines = await session.scalars(sa.text(f"EXPLAIN (COSTS OFF) {compiled}".replace(":", r"\:")))
    return "\n".join(lines)


async def test_an_invalid_filter_is_rejected(service: UsersService) -> None:
    admin = await service.header_with("admin")
    for query in ("user_id=1", "kind=odd", "actor=", "actor=%00", "occurred_after=now", "cursor=x"):
        response = await service.http.get(f"/v1/security-events?{query}", headers=admin)
        assert response.status_code == 422, query


async def test_users_see_their_own_entries_without_the_names_and_addresses_of_staff(service: UsersService) -> None:
    header = await service.header_with("customer", email="ada@orderly.example")
    user_id = UUID((await service.http.get("/v1/users/me", headers=header)).json()["id"])
    origin = Origin("192.0.2.7", "Mozilla/5.0")
    async with service.sessions.begin() as session:
        for actor in (user_id, SYSTEM, ANONYMOUS, uuid4(), "ada@ops-1"):
            await append(session, "signed_in", user_id=user_id, actor=actor, origin=origin, details={"n": 1})
        await append(session, "signed_in", user_id=uuid4(), actor=user_id)

    response = await service.http.get("/v1/users/me/security-events", headers=header)

    items = response.json()["items"]
    seen = [(entry["kind"], entry["actor"], entry["address"], entry["user_agent"]) for entry in items]
    shown = ("192.0.2.7", "Mozilla/5.0")
    assert seen == [
        ("signed_in", "staff", None, None),
        ("signed_in", "staff", None, None),
        ("signed_in", "anonymous", *shown),
        ("signed_in", "system", *shown),
        ("signed_in", "you", *shown),
        ("signed_in", "you", "192.0.2.1", None),
        ("account_created", "you", None, None),
    ]
    assert set(items[0]) == {
        *("id", "kind", "actor", "address", "user_agent", "details", "occurred_at"),
    }


async def test_a_sign_up_and_a_change_of_the_profile_are_recorded_without_personal_data(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    change = {"name": "Augusta King", "bio": "Mathematician."}
    await service.http.patch("/v1/users/me", json=change, headers=header | {"If-Match": '"1"'})

    items = (await service.http.get("/v1/users/me/security-events", headers=header)).json()["items"]

    changes = [(each["kind"], each["actor"], each["details"]) for each in items if each["kind"] != "signed_in"]
    assert changes == [
        ("profile_changed", "you", {"members": ["bio", "name"]}),
        ("account_created", "you", {}),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM security_event",
        "UPDATE security_event SET kind = 'signed_in'",
        "UPDATE security_event SET actor = 'somebody else'",
        "UPDATE security_event SET user_id = NULL",
        "UPDATE security_event SET occurred_at = now()",
        "UPDATE security_event SET details = '{}'",
        "UPDATE security_event SET address = '192.0.2.8'",
        "UPDATE security_event SET address = NULL, user_agent = NULL, details = '{}'",
        "UPDATE security_event SET details = details - 'roles'",
        'UPDATE security_event SET details = details || \'{"reason": "another"}\'',
    ],
)
async def test_no_statement_changes_or_deletes_an_entry(service: UsersService, statement: str) -> None:
    async with service.sessions.begin() as session:
        origin = Origin("192.0.2.7", "Mozilla/5.0")
        details: dict[str, JsonValue] = {"roles": [], "reason": "one"}
        await append(session, "roles_changed", user_id=uuid4(), actor="ada", origin=origin, details=details)

    with pytest.raises(IntegrityError, match="append-only"):
        async with service.sessions.begin() as session:
            await session.execute(sa.text(statement))


async def test_an_erasure_removes_the_personal_data_of_an_entry(service: UsersService) -> None:
    async with service.sessions.begin() as session:
        origin, details = Origin("192.0.2.7", "Mozilla/5.0"), {"reason": "called", "session_id": "1"}
        await append(session, "signed_in", user_id=uuid4(), actor="ada", origin=origin, details=details)
        await session.execute(sa.text("UPDATE security_event SET details = details - 'reason'"))
        await session.execute(sa.text("UPDATE security_event SET address = NULL, user_agent = NULL"))
    async with service.sessions() as session:
        (entry,) = await session.scalars(sa.select(SecurityEvent))
    found = (entry.kind, entry.address, entry.user_agent, entry.details)
    assert found == ("signed_in", None, None, {"session_id": "1"})


async def test_only_admins_read_the_whole_record(service: UsersService) -> None:
    support = await service.header_with("support")
    assert problem(await service.http.get("/v1/security-events", headers=support)) == (403, "role_required")
