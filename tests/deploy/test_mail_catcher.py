"""The mail catcher: what is sent to it can be found, read and shown without harm."""

from email.message import EmailMessage

import aiosmtplib
import httpx2

from tests.harness.mail import MailCatcher


async def test_a_mail_is_found_by_its_recipient_with_both_its_texts(smtp_catcher: MailCatcher) -> None:
    await _send(smtp_catcher, to="ann@example.org", subject="Grüße")
    await _send(smtp_catcher, to="bob@example.org", subject="Other")

    (mail,) = await smtp_catcher.wait_for(to="ANN@")

    assert mail["subject"] == "Grüße"
    assert mail["to"] == ["ann@example.org"]
    assert mail["text"] == "plain words\n"
    assert mail["html"] == "<p>rich words</p>\n"
    assert ["From", "shop@example.org"] in mail["headers"]


async def test_the_list_is_counted_paged_and_newest_first(smtp_catcher: MailCatcher) -> None:
    for number in range(5):
        await _send(smtp_catcher, to="ann@example.org", subject=f"Number {number}")

    async with httpx2.AsyncClient(base_url=smtp_catcher.api_url) as client:
        page = (await client.get("/api/messages", params={"limit": 2, "offset": 1})).json()
        counted = (await client.get("/api/count", params={"subject": "number 3"})).json()

    assert page["total"] == 5
    assert [mail["subject"] for mail in page["messages"]] == ["Number 3", "Number 2"]
    assert counted == {"count": 1}


async def test_a_mails_html_is_served_in_a_sandbox(smtp_catcher: MailCatcher) -> None:
    await _send(smtp_catcher, to="ann@example.org", subject="Any")
    (mail,) = await smtp_catcher.wait_for()

    async with httpx2.AsyncClient(base_url=smtp_catcher.api_url) as client:
        shown = await client.get(f"/messages/{mail['id']}/html")
        unknown = await client.get("/api/messages/999999")

    assert "<p>rich words</p>" in shown.text
    assert shown.headers["content-security-policy"].startswith("sandbox")
    assert unknown.status_code == 404


async def _send(catcher: MailCatcher, *, to: str, subject: str) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@example.org", to, subject
    mail.set_content("plain words\n")
    mail.add_alternative("<p>rich words</p>\n", subtype="html")
    port = httpx2.URL(catcher.smtp_url.replace("smtp", "http")).port
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=port)
