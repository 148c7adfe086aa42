"""Routes of notifications, and access to them."""

from typing import Any
from uuid import UUID

import httpx2
import pytest

from shared.database import Sessions
from shared.ids import new_id
from tests.harness.problems import problem
from tests.notifications.events import apply, order_confirmed, user_created
from tests.notifications.smtp_server import SmtpServer
from tests.shared.http.token_issuer import TokenIssuer

ANN, BEN = new_id(), new_id()


@pytest.fixture(autouse=True)
async def _notifications(sessions: Sessions) -> None:
    """Six notifications of Ann, a welcome and five orders, and Ben's welcome."""
    await apply(sessions, user_created(ANN), user_created(BEN, email="ben@example.org"))
    for number in range(5):
        await apply(sessions, order_confirmed(ANN, number=f"O-{number}"))


@pytest.fixture
def ann(issuer: TokenIssuer) -> dict[str, str]:
    return issuer.header("customer", user_id=ANN)


async def items_of(client: httpx2.AsyncClient, headers: dict[str, str], query: str = "") -> list[dict[str, Any]]:
    response = await client.get(f"/v1/notifications{query}", headers=headers)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def test_notifications_are_listed_newest_first_page_by_page(
    client: httpx2.AsyncClient, ann: dict[str, str]
) -> None:
    first = await client.get("/v1/notifications?limit=4", headers=ann)
    titles = [item["title"] for item in first.json()["items"]]
    assert titles == [f"Order O-{number} is confirmed" for number in (4, 3, 2, 1)]
    assert first.headers["Link"].endswith('rel="next"')

    rest = await client.get(f"/v1/notifications?limit=4&cursor={first.json()['next_cursor']}", headers=ann)
    assert [item["title"] for item in rest.json()["items"]] == ["Order O-0 is confirmed", "Welcome to Orderly"]
    assert rest.json()["next_cursor"] is None


async def test_a_notification_has_the_data_of_its_event(client: httpx2.AsyncClient, ann: dict[str, str]) -> None:
    item = (await items_of(client, ann))[0]

    assert (item["category"], item["event_type"], item["read_at"]) == ("orders", "order.confirmed", None)
    assert item["data"]["number"] == "O-4"
    assert item["data"]["total_cents"] == 2600
    assert "user_id" not in item["data"]


async def test_marking_as_read_lowers_the_count_and_keeps_the_first_time(
    client: httpx2.AsyncClient, ann: dict[str, str]
) -> None:
    item = (await items_of(client, ann))[0]
    path = f"/v1/notifications/{item['id']}/read"
    assert (await client.get("/v1/notifications/unread-count", headers=ann)).json() == {"unread": 6}

    first = await client.post(path, headers=ann)
    again = await client.post(path, headers=ann)

    assert first.status_code == 200
    assert first.json()["read_at"] is not None
    assert again.json() == first.json()
    assert (await client.get("/v1/notifications/unread-count", headers=ann)).json() == {"unread": 5}
    unread = await items_of(client, ann, "?unread=true")
    assert item["id"] not in {each["id"] for each in unread}
    assert len(unread) == 5
    assert len(await items_of(client, ann)) == 6


async def test_one_notification_shows_its_deliveries(client: httpx2.AsyncClient, ann: dict[str, str]) -> None:
    item = (await items_of(client, ann))[0]

    details = (await client.get(f"/v1/notifications/{item['id']}", headers=ann)).json()

    states = [(each["channel"], each["status"], each["attempts"]) for each in details.pop("deliveries")]
    assert states == [("email", "queued", 0), ("in_app", "sent", 0)]
    assert details == item


async def test_the_notification_of_another_user_is_not_found(
    client: httpx2.AsyncClient, ann: dict[str, str], issuer: TokenIssuer
) -> None:
    ben = issuer.header("customer", user_id=BEN)
    path = f"/v1/notifications/{(await items_of(client, ann))[0]['id']}"

    assert [item["title"] for item in await items_of(client, ben)] == ["Welcome to Orderly"]
    for response in (await client.get(path, headers=ben), await client.post(f"{path}/read", headers=ben)):
        assert (response.status_code, response.json()["code"]) == (404, "notification_not_found")
        assert response.headers["Content-Type"] == "application/problem+json"
    assert (await client.get(path, headers=ann)).json()["read_at"] is None


@pytest.mark.parametrize("role", ["support", "admin"])
async def test_staff_can_read_all_notifications_but_not_mark_them_as_read(
    client: httpx2.AsyncClient, ann: dict[str, str], issuer: TokenIssuer, role: str
) -> None:
    staff = issuer.header(role, user_id=BEN)
    path = f"/v1/notifications/{(await items_of(client, ann))[0]['id']}"

    assert (await client.get(path, headers=staff)).status_code == 200
    assert (await client.post(f"{path}/read", headers=staff)).status_code == 404


async def test_each_error_has_its_code(client: httpx2.AsyncClient, ann: dict[str, str]) -> None:
    unknown: UUID = new_id()

    assert problem(await client.get("/v1/notifications")) == (401, "token_missing")
    assert problem(await client.get("/v1/notifications", headers={"Authorization": "Bearer x"})) == (
        401,
        "token_invalid",
    )
    assert problem(await client.get(f"/v1/notifications/{unknown}", headers=ann)) == (404, "notification_not_found")
    assert problem(await client.post(f"/v1/notifications/{unknown}/read", headers=ann)) == (
        404,
        "notification_not_found",
    )
    assert problem(await client.get("/v1/notifications/nonsense", headers=ann)) == (422, "validation_failed")
    assert problem(await client.get("/v1/notifications?limit=0", headers=ann)) == (422, "validation_failed")
    assert problem(await client.get("/v1/notifications?unread=maybe", headers=ann)) == (422, "validation_failed")
    assert problem(await client.get("/v1/notifications?cursor=forged", headers=ann)) == (422, "cursor_invalid")
    assert problem(await client.delete("/v1/notifications", headers=ann)) == (405, "method_not_allowed")


async def test_an_unavailable_mail_server_only_degrades_the_health(
    client: httpx2.AsyncClient, smtp_server: SmtpServer
) -> None:
    assert (await client.get("/health")).json()["checks"]["smtp"]["status"] == "healthy"

    await smtp_server.close()

    report = await client.get("/health")
    assert (report.status_code, report.json()["status"]) == (200, "degraded")
    assert report.json()["checks"]["smtp"] | {"duration_ms": 0} == {
        "status": "unhealthy",
        "error": "unreachable",
        "duration_ms": 0,
    }
