"""Mails with one-time tokens reach the address that is sealed with the token, and nothing else ever shows either."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from services.notifications.channels import Send
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.mail import mail_channel
from services.notifications.smtp import Smtp
from shared.connection_urls import dsn_of
from shared.database import Sessions
from shared.events.users import (
    EmailChanged,
    EmailChangeRequested,
    EmailVerificationRequested,
    PasswordChanged,
    PasswordResetRequested,
    SignedInFromNewDevice,
    SignUpAttempted,
)
from shared.ids import new_id
from tests.harness.mail import MailCatcher
from tests.harness.personal_keys import StoredKeys, sealed_mail
from tests.harness.rows import Rows
from tests.notifications.attempts import WorkerOf, attempt_once, make_due
from tests.notifications.conftest import MAIL_FROM, PUBLIC_URL
from tests.notifications.events import apply, user_created
from tests.notifications.smtp_server import SmtpServer, body_of
from tests.shared.http.token_issuer import TokenIssuer

ADDRESS, TOKEN = "stranger@example.net", "tok3n-of_7391"
NOTIFICATION = "SELECT sealed IS NULL, in_app, data, title FROM notification"
MAIL = "SELECT status, last_error, attempts FROM delivery WHERE channel = 'email'"
EXPIRED_ATTEMPTS = sa.text("""
    UPDATE delivery SET status = 'sending', attempts = 1, first_due_at = now() - interval '30 days',
                        next_attempt_at = now()
    WHERE channel = 'email'
""")
REQUESTS = {
    EmailVerificationRequested: ("verify", "Confirm your e-mail address", "Bestätigen Sie Ihre E-Mail-Adresse"),
    EmailChangeRequested: (
        "confirm-email",
        "Confirm your new e-mail address",
        "Bestätigen Sie Ihre neue E-Mail-Adresse",
    ),
    PasswordResetRequested: ("reset-password", "Set a new password", "Setzen Sie ein neues Passwort"),
    SignUpAttempted: ("reset-password", "You have an account already", "Sie haben schon ein Konto"),
}


def requested(
    user_id: UUID,
    event_class: Any = PasswordResetRequested,
    *,
    locale: str = "en",
    valid_for: timedelta = timedelta(hours=1),
) -> Any:
    return event_class(
        user_id=user_id,
        personal=sealed_mail(user_id, email=ADDRESS, token=TOKEN),
        locale=locale,
        expires_at=datetime.now(UTC) + valid_for,
    )


async def dump(url: str) -> str:
    """Return all rows of all tables of the database as text; bytes as the text that they hold."""
    connection = await asyncpg.connect(dsn_of(url))
    tables = await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200")
    found = [await connection.fetch(f'SELECT * FROM "{table["relname"]}"') for table in tables]  # noqa: S608 - its own tables
    await connection.close()
    return "\n".join(str(tuple(row.values())) for rows in found for row in rows)


@pytest.mark.parametrize("locale", ["en", "de-AT"])
@pytest.mark.parametrize("event_class", REQUESTS)
async def test_a_token_is_mailed_at_once_to_the_sealed_address(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer, event_class: Any, locale: str
) -> None:
    path, *titles = REQUESTS[event_class]
    title = titles[locale.startswith("de")]
    await apply(sessions, requested(new_id(), event_class, locale=locale))
    assert await Rows(sessions).of(NOTIFICATION) == [(False, False, {}, title)]

    await attempt_once(worker_of(send))

    (mail,) = smtp_server.mails
    assert ([each.addr_spec for each in mail["To"].addresses], mail["Subject"]) == ([ADDRESS], title)
    link = f"{PUBLIC_URL}/account/{path}?token={TOKEN}"
    text, html = body_of(mail, "plain"), body_of(mail, "html")
    assert link in text.splitlines()
    assert f'href="{link}"' in html
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    assert await Rows(sessions).of(MAIL) == [("sent", None, 1)]
    assert await Rows(sessions).of(NOTIFICATION) == [(True, False, {}, title)]


async def test_a_mail_with_a_token_shows_no_name_and_goes_to_no_stored_address(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    user_id = new_id()
    await apply(sessions, user_created(user_id, name="Visit evil.example", email_verified=False))
    await apply(sessions, requested(user_id), sequence=2)

    await attempt_once(worker_of(send))

    (mail,) = smtp_server.mails
    assert mail["To"] == ADDRESS
    assert b"evil" not in mail.as_bytes()


async def test_the_token_is_in_the_mail_and_in_no_table_log_or_response(
    *,
    database_url: str,
    sessions: Sessions,
    worker_of: WorkerOf,
    keys: StoredKeys,
    smtp_catcher: MailCatcher,
    client: httpx2.AsyncClient,
    issuer: TokenIssuer,
) -> None:
    user_id = new_id()
    smtp = Smtp(smtp_catcher.smtp_url, local_hostname="orderly.example")
    send = mail_channel(smtp, keys=keys.personal_keys(), mail_from=MAIL_FROM, public_url=PUBLIC_URL)
    keys.away = True
    with capture_logs() as logs:
        await apply(sessions, requested(user_id))
        await attempt_once(worker_of(send))
        assert await Rows(sessions).of(MAIL) == [("retrying", "keys_unavailable", 1)]
        before = await dump(database_url) + await responses(client, issuer, user_id)
        keys.away = False
        await make_due(sessions)
        await attempt_once(worker_of(send))
        after = await dump(database_url) + await responses(client, issuer, user_id)
    await smtp.close()

    (mail,) = await smtp_catcher.wait_for(to=ADDRESS, count=1)
    assert TOKEN in mail["text"]
    for secret in (TOKEN, ADDRESS):
        assert secret not in before
        assert secret not in after
        assert secret not in str(logs)
    assert "user.password_reset_requested" in after
    assert "eyJ" in before, "the sealed text is stored until the mail was sent"
    assert "eyJ" not in after


async def responses(client: httpx2.AsyncClient, issuer: TokenIssuer, user_id: UUID) -> str:
    """Return what the routes of notifications respond to the user, and to an admin."""
    own, admin = issuer.header("customer", user_id=user_id), issuer.header("admin")
    listed = await client.get("/v1/notifications", headers=own)
    unread = await client.get("/v1/notifications/unread-count", headers=own)
    assert (listed.json()["items"], unread.json()) == ([], {"unread": 0})
    found = []
    for status in ("retrying", "sent"):
        path = "/v1/operations/notifications/deliveries"
        page = (await client.get(path, params={"status": status}, headers=admin)).json()
        for delivery in page["items"]:
            mine = f"/v1/notifications/{delivery['notification_id']}"
            assert (await client.get(mine, headers=own)).status_code == 404
            assert (await client.post(f"{mine}/read", headers=own)).status_code == 404
            found += [
                await client.get(mine, headers=admin),
                await client.get(f"{path}/{delivery['id']}", headers=admin),
            ]
    assert found
    return "".join(response.text for response in found)


@pytest.mark.parametrize(
    ("valid_for", "erased", "expected"),
    [
        (timedelta(0), False, ("failed", "expired", 1)),
        (timedelta(hours=1), True, ("failed", "recipient_erased", 1)),
    ],
)
async def test_a_mail_fails_at_once_if_its_token_has_expired_or_its_user_is_erased(
    *,
    sessions: Sessions,
    worker_of: WorkerOf,
    send: Send,
    keys: StoredKeys,
    smtp_server: SmtpServer,
    valid_for: timedelta,
    erased: bool,
    expected: tuple[str, str, int],
) -> None:
    user_id = new_id()
    if erased:
        keys.erased.add(user_id)
    await apply(sessions, requested(user_id, valid_for=valid_for))

    await attempt_once(worker_of(send))

    assert await Rows(sessions).of(MAIL) == [expected]
    assert await Rows(sessions).of("SELECT sealed FROM notification") == [(None,)]
    assert smtp_server.mails == []


async def test_an_interrupted_mail_that_is_given_up_keeps_no_token(sessions: Sessions, worker: DeliveryWorker) -> None:
    await apply(sessions, requested(new_id()))
    async with sessions.begin() as session:
        await session.execute(EXPIRED_ATTEMPTS)

    await attempt_once(worker)

    assert ("failed", "interrupted", 1) in await Rows(sessions).of(MAIL)
    assert await Rows(sessions).of("SELECT DISTINCT sealed FROM notification") == [(None,)]


async def test_an_ended_mail_with_a_token_cannot_be_resent(
    sessions: Sessions, worker_of: WorkerOf, send: Send, client: httpx2.AsyncClient, issuer: TokenIssuer
) -> None:
    await apply(sessions, requested(new_id(), valid_for=timedelta(0)))
    await attempt_once(worker_of(send))
    (delivery_id,) = (await Rows(sessions).of("SELECT id FROM delivery"))[0]
    path, headers = "/v1/operations/notifications/deliveries/resends", issuer.header("admin")

    by_id = await client.post(path, json={"note": "a test", "ids": [str(delivery_id)]}, headers=headers)
    by_filter = await client.post(path, json={"note": "a test", "status": "failed"}, headers=headers)

    assert (by_id.status_code, by_id.json()["code"]) == (409, "delivery_not_resendable")
    assert (by_filter.status_code, by_filter.json()["deliveries"]) == (200, 0)


async def test_a_user_is_told_of_a_new_password_and_a_new_device_in_the_app_and_by_mail(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    user_id = new_id()
    await apply(sessions, user_created(user_id))
    at = datetime(2026, 11, 29, 14, 10, tzinfo=UTC)

    await apply(
        sessions,
        PasswordChanged(user_id=user_id),
        SignedInFromNewDevice(user_id=user_id, device="Firefox on Linux", occurred_at=at),
        sequence=2,
    )
    await attempt_once(worker_of(send))

    titles = ["New sign-in to your account", "Welcome to Orderly", "Your password was changed"]
    assert sorted(mail["Subject"] for mail in smtp_server.mails) == titles
    (device,) = [mail for mail in smtp_server.mails if mail["Subject"] == titles[0]]
    assert "Firefox on Linux, 2026-11-29 14:10 UTC." in body_of(device, "plain")
    assert await Rows(sessions).of("SELECT count(*) FROM delivery WHERE channel = 'in_app'") == [(3,)]


async def test_the_former_address_is_told_of_a_changed_one(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    user_id = new_id()
    personal = sealed_mail(user_id, email="former@example.org", token="")

    await apply(sessions, EmailChanged(user_id=user_id, personal=personal, locale="en"))
    await attempt_once(worker_of(send))

    (mail,) = smtp_server.mails
    assert (mail["To"], mail["Subject"]) == ("former@example.org", "Your e-mail address was changed")
