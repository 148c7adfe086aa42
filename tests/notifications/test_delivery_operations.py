"""`deliveries list|show|resend` on the command line and over HTTP: find mails that were not sent, and resend them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa

from services.notifications import delivery_operations
from services.notifications.channels import Send
from services.notifications.delivery_operations import DeliveryFilter, ResendSelection, resend
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.models import Delivery
from services.notifications.retries import RetryPolicy
from shared.database import Sessions
from shared.ids import new_id
from tests.harness.problems import problem
from tests.harness.tool import Tool
from tests.notifications.attempts import (
    WorkerOf,
    attempt_once,
    delivery_of,
    mail_events,
    mail_statuses,
    make_due,
    users,
)
from tests.notifications.events import apply, user_created
from tests.notifications.smtp_server import SmtpServer
from tests.shared.http.token_issuer import TokenIssuer

PATH = "/v1/operations/notifications/deliveries"
ADMIN = new_id()
SHOWN = {
    *("id", "notification_id", "user_id", "email", "event_type", "title", "data", "created_at"),
    *("channel", "status", "attempts", "first_due_at", "next_attempt_at", "sent_at", "last_error"),
    *("provider", "provider_message_id", "actions"),
}
"""The members of a delivery. None holds the text of a mail."""


@pytest.fixture
def admin(issuer: TokenIssuer) -> dict[str, str]:
    return issuer.header("admin", user_id=ADMIN)


@pytest.fixture
def tool(database_url: str) -> Tool:
    return Tool("notifications", database_url)


@pytest.fixture
async def failed(sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer) -> Delivery:
    """A delivery that has failed, since the server did not know the address."""
    await apply(sessions, user_created(new_id()))
    smtp_server.replies["RCPT"].append("550 Unknown")
    await attempt_once(worker_of(send))
    delivery = await delivery_of(sessions)
    assert delivery.status == "failed"
    return delivery


async def test_a_failed_delivery_is_listed_shown_and_resent_on_the_command_line(
    sessions: Sessions, tool: Tool, failed: Delivery, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    status, table, _ = await tool("deliveries", "list")
    assert (status, str(failed.id) in table, "recipient_refused" in table) == (0, True, True)
    status, shown = await tool.json("deliveries", "show", str(failed.id))
    assert (status, shown["event_type"], shown["email"]) == (0, "user.created", "ann@example.org")

    resending = ("deliveries", "resend", "--note", "address corrected", "--actor", "ada")
    status, _, message = await tool(*resending, "--status", "failed")
    assert (status, "--yes" in message, await mail_statuses(sessions)) == (2, True, ["failed"])
    assert await tool(*resending, "--id", str(failed.id)) == (0, "1 resent\n", "")
    await attempt_once(worker_of(send))

    resent = await delivery_of(sessions)
    assert (resent.status, resent.attempts, len(smtp_server.mails)) == ("sent", 2, 1)
    assert [type_ for type_, _ in await mail_events(sessions)] == ["notification.failed", "notification.sent"]
    _, text, _ = await tool("deliveries", "show", str(failed.id))
    assert all(word in text for word in ("ada", "address corrected", "failed", "recipient_refused"))


async def test_a_resent_delivery_gets_the_whole_time_and_the_first_delays_again(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    await users(sessions, 1)
    worker = worker_of(send, retry_policy=RetryPolicy())
    await smtp_server.close()
    for _ in range(3):
        await attempt_once(worker)
        await make_due(sessions)
    await make_due(sessions, first_due_before=RetryPolicy().period)
    await attempt_once(worker)
    assert await mail_statuses(sessions) == ["failed"]

    count = await resend(sessions, ResendSelection(wanted=DeliveryFilter()), actor="ada", note="server is back")
    await attempt_once(worker)

    delivery = await delivery_of(sessions)
    assert (count, delivery.status, delivery.attempts) == (1, "retrying", 5)
    assert delivery.next_attempt_at is not None
    assert delivery.first_due_at is not None
    seconds = (delivery.next_attempt_at - delivery.first_due_at).total_seconds()
    assert 60 <= seconds < 120


async def test_a_resend_of_many_deliveries_is_done_in_pages(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_operations, "RESEND_PAGE", 3)
    await users(sessions, 8)
    async with sessions.begin() as session:
        is_mail = Delivery.channel == "email"
        await session.execute(sa.update(Delivery).where(is_mail).values(status="failed", next_attempt_at=None))
    totals: list[int] = []

    selection = ResendSelection(wanted=DeliveryFilter(), limit=7)
    assert await resend(sessions, selection, actor="ada", note="x", dry_run=True) == 7
    assert await resend(sessions, selection, actor="ada", note="x", on_resent=totals.append) == 7
    assert totals == [3, 6, 7]
    assert sorted(await mail_statuses(sessions)) == ["failed", *["retrying"] * 7]
    # Waiting ones are made due at once, each once.
    waiting = ResendSelection(wanted=DeliveryFilter(status="retrying"))
    assert await resend(sessions, waiting, actor="ada", note="x") == 7


async def test_deliveries_are_listed_and_shown_over_http(
    client: httpx2.AsyncClient, admin: dict[str, str], failed: Delivery, sessions: Sessions
) -> None:
    await apply(sessions, user_created(new_id(), email="ben@example.org"))

    async def ids(**query: str) -> list[UUID]:
        response = await client.get(PATH, params=query, headers=admin)
        assert response.status_code == 200, response.text
        return [UUID(item["id"]) for item in response.json()["items"]]

    assert await ids() == [failed.id]
    assert await ids(error="unreachable") == []
    assert len(await ids(status="queued")) == 1
    assert len(await ids(status="sent", channel="in_app")) == 2
    now = datetime.now(UTC)
    assert await ids(created_before=(now + timedelta(hours=1)).isoformat()) == [failed.id]
    assert await ids(created_before=(now - timedelta(hours=1)).isoformat()) == []
    first = await client.get(PATH, params={"status": "sent", "limit": "1"}, headers=admin)
    assert len(await ids(status="sent", cursor=first.json()["next_cursor"])) == 1

    shown = (await client.get(f"{PATH}/{failed.id}", headers=admin)).json()
    assert (shown["last_error"], shown["email"], shown["actions"]) == ("recipient_refused", "ann@example.org", [])
    assert shown.keys() == SHOWN | {"advice"}
    missing = await client.get(f"{PATH}/{new_id()}", headers=admin)
    assert problem(missing) == (404, "delivery_not_found")


async def test_deliveries_are_resent_over_http(
    client: httpx2.AsyncClient, admin: dict[str, str], failed: Delivery
) -> None:
    async def post(**body: Any) -> httpx2.Response:
        return await client.post(f"{PATH}/resends", json={"note": "server is back", **body}, headers=admin)

    assert problem(await post()) == (422, "no_delivery_selected")
    assert problem(await post(ids=[str(failed.id)], status="failed")) == (422, "no_delivery_selected")
    assert problem(await post(error="recipient_refused")) == (422, "no_delivery_selected")
    assert problem(await post(ids=[str(failed.id), str(new_id())])) == (404, "delivery_not_found")
    assert (await post(status="failed", dry_run=True)).json() == {"dry_run": True, "deliveries": 1}
    assert (await post(status="failed", error="recipient_refused")).json() == {"dry_run": False, "deliveries": 1}

    shown = (await client.get(f"{PATH}/{failed.id}", headers=admin)).json()
    [action] = shown["actions"]
    assert (shown["status"], action["actor"], action["note"]) == ("retrying", str(ADMIN), "server is back")
    assert (action["status_before"], action["error_before"]) == ("failed", "recipient_refused")


async def test_a_repeated_resend_gets_the_first_response_and_sends_nothing_again(
    client: httpx2.AsyncClient,
    admin: dict[str, str],
    worker: DeliveryWorker,
    delivery_id: UUID,
    smtp_server: SmtpServer,
) -> None:
    await attempt_once(worker)
    body = {"note": "the user has lost it", "ids": [str(delivery_id)], "force": True}

    for _ in range(2):
        response = await client.post(f"{PATH}/resends", json=body, headers=admin | {"Idempotency-Key": "lost"})
        assert (response.status_code, response.json()) == (200, {"dry_run": False, "deliveries": 1})
        await attempt_once(worker)

    assert response.headers["idempotency-replayed"] == "true"
    assert len(smtp_server.mails) == 2


@pytest.mark.parametrize("changes", [{"dry_run": 0}, {"force": 1}, {"limit": "7"}, {"limit": True}, {"limit": 10**22}])
async def test_a_resend_takes_only_the_documented_types(
    client: httpx2.AsyncClient, admin: dict[str, str], changes: dict[str, Any]
) -> None:
    body = {"note": "the server is back", "status": "failed", **changes}
    response = await client.post(f"{PATH}/resends", json=body, headers=admin)
    assert problem(response) == (422, "validation_failed")


async def test_a_delivery_that_was_sent_is_resent_only_by_force(
    client: httpx2.AsyncClient,
    admin: dict[str, str],
    sessions: Sessions,
    worker: DeliveryWorker,
    delivery_id: UUID,
    smtp_server: SmtpServer,
) -> None:
    await attempt_once(worker)
    async with sessions() as session:
        in_app = await session.scalar(sa.select(Delivery.id).where(Delivery.channel == "in_app"))

    async def post(one: object, *, force: bool) -> httpx2.Response:
        body = {"note": "the user has lost it", "ids": [str(one)], "force": force}
        return await client.post(f"{PATH}/resends", json=body, headers=admin)

    assert problem(await post(delivery_id, force=False)) == (409, "delivery_not_resendable")
    assert problem(await post(in_app, force=True)) == (409, "delivery_not_resendable")
    assert (await post(delivery_id, force=True)).status_code == 200
    await attempt_once(worker)

    assert await mail_statuses(sessions) == ["sent"]
    assert len({mail["Message-ID"] for mail in smtp_server.mails}) == 1
    assert len(smtp_server.mails) == 2
