"""Exports: the service answers a request with what it has of the user, and tells the user when an export is ready."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from services.notifications.recipient_export import COLLECTION, record_part
from shared.connection_urls import dsn_of
from shared.data_exports import add_export_jobs
from shared.database import Sessions
from shared.events.exported_data import ExportedData, NotificationsExport
from shared.events.users import EmailChanged, ExportReady, ExportRequested
from shared.ids import new_id
from shared.jobs import JobRunner, Jobs
from shared.personal_data import unseal
from tests.harness.personal_keys import StoredKeys, key_of, sealed_mail
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.notifications.attempts import WorkerOf, attempt_once
from tests.notifications.events import apply, order_confirmed, user_created
from tests.notifications.smtp_server import SmtpServer, body_of

PAYLOADS = "SELECT payload FROM outbox WHERE type = 'notification.recipient_exported' ORDER BY id"


async def answer(database_url: str, sessions: Sessions, request: ExportRequested, *, sequence: int) -> dict[str, Any]:
    """Apply a request, run its job, and return the data of the answer, which has one part."""
    await apply(sessions, request, sequence=sequence, opened=False)
    jobs = add_export_jobs(Jobs(), keys=StoredKeys().personal_keys(), collection=COLLECTION, record_part=record_part)

    async def is_answered() -> bool:
        return bool(await Rows(sessions).of(PAYLOADS))

    async with running(JobRunner(jobs, dsn=dsn_of(database_url), sessions=sessions)):
        await until(is_answered, what="the request is answered")
    ((payload,),) = await Rows(sessions).of(PAYLOADS)
    data: dict[str, Any] = orjson.loads(payload)
    return data


async def test_a_request_is_answered_with_the_recipient_and_all_notifications(
    database_url: str, sessions: Sessions
) -> None:
    user_id, request_id = new_id(), new_id()
    order = order_confirmed(user_id, lines=1)
    await apply(sessions, user_created(user_id), user_created(new_id(), email="ben@example.org"))
    await apply(sessions, order)
    personal = sealed_mail(user_id, email="former@example.org", token="a secret")
    await apply(sessions, EmailChanged(user_id=user_id, personal=personal, locale="en"), sequence=2)

    event = await answer(database_url, sessions, ExportRequested(user_id=user_id, request_id=request_id), sequence=3)

    assert (event["user_id"], event["request_id"], event["part"], event["parts"]) == (
        str(user_id),
        str(request_id),
        1,
        1,
    )
    part = unseal(event["personal"], key=key_of(user_id), model=ExportedData)
    exported = NotificationsExport.model_validate_json(orjson.dumps({**part.facts, **part.lists}))
    recipient = exported.recipient
    assert recipient is not None
    assert recipient.model_dump(exclude={"updated_at"}) == {
        "email": "ann@example.org",
        "name": "Ann",
        "locale": "en",
        "time_zone": "UTC",
        "email_verified": True,
    }
    assert [(each.event_type, each.title) for each in exported.notifications] == [
        ("user.created", "Welcome to Orderly"),
        ("order.confirmed", "Order O-1042 is confirmed"),
        ("user.email_changed", "Your e-mail address was changed"),
    ]
    assert [[delivery.channel for delivery in each.deliveries] for each in exported.notifications] == [
        ["email", "in_app"],
        ["email", "in_app"],
        ["email"],
    ]
    assert exported.notifications[1].data["number"] == "O-1042"
    assert personal not in part.model_dump_json()


async def test_a_user_is_told_of_a_ready_export_in_the_app_and_by_mail(
    sessions: Sessions, worker_of: WorkerOf, send: Any, smtp_server: SmtpServer
) -> None:
    ann, ben = UUID(int=new_id().int), new_id()
    await apply(sessions, user_created(ann), user_created(ben, email="ben@example.org", locale="de"))
    expires_at = datetime(2026, 12, 6, 14, 10, tzinfo=UTC)

    for user_id in (ann, ben):
        await apply(sessions, ExportReady(user_id=user_id, request_id=new_id(), expires_at=expires_at), sequence=2)
    await attempt_once(worker_of(send))

    mails = {mail["Subject"]: mail for mail in smtp_server.mails}
    assert {"Your export is ready", "Ihr Datenexport ist bereit"} <= mails.keys()
    text = body_of(mails["Your export is ready"], "plain")
    assert "download it before 2026-12-06 14:10 UTC: http://127.0.0.1:8080" in text
    assert "2026-12-06 14:10 UTC" in body_of(mails["Ihr Datenexport ist bereit"], "html")
    titles = await Rows(sessions).of("SELECT title FROM notification WHERE event_type = 'user.export_ready' AND in_app")
    assert sorted(titles) == [("Ihr Datenexport ist bereit",), ("Your export is ready",)]
