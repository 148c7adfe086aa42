"""Connections to the mail server: reused, replaced when the server has closed them, and no mail is sent twice."""

import asyncio

import pytest

from services.notifications import smtp as smtp_module
from services.notifications.channels import MAX_CONCURRENT_SENDS, SendFailed
from services.notifications.smtp import Smtp
from tests.harness.waiting import until
from tests.notifications.smtp_server import SmtpServer

MESSAGE = b"Subject: test\r\n\r\nHello\r\n.dot\r\n"


async def send_to(smtp: Smtp, recipient: str = "ann@example.org") -> None:
    await smtp.send(MESSAGE, sender="no-reply@orderly.example", recipient=recipient)


async def test_a_connection_is_reused_also_after_an_error_reply(smtp: Smtp, smtp_server: SmtpServer) -> None:
    await send_to(smtp)
    for step in ("RCPT", "DATA"):
        smtp_server.replies[step].append("550 Unknown")
        with pytest.raises(SendFailed):
            await send_to(smtp)
    await send_to(smtp)

    assert smtp_server.connections == 1
    assert [mail.get_content().splitlines() for mail in smtp_server.mails] == [["Hello", ".dot"]] * 2


@pytest.mark.parametrize("is_noticed", [False, True])
async def test_a_mail_on_a_connection_that_the_server_has_closed_is_sent_on_a_new_one(
    smtp: Smtp, smtp_server: SmtpServer, is_noticed: bool
) -> None:
    await send_to(smtp)
    [connection] = smtp._idle

    async def is_closed() -> bool:
        return not connection.is_connected

    smtp_server.close_connections()
    if is_noticed:
        await until(is_closed, what="the client has noticed it")
    assert await is_closed() == is_noticed
    await send_to(smtp)

    assert (smtp_server.connections, len(smtp_server.mails)) == (2, 2)


@pytest.mark.parametrize("reply", ["421 Idle for too long", None])
async def test_a_connection_that_ends_at_mail_is_replaced_once(
    smtp: Smtp, smtp_server: SmtpServer, reply: str | None
) -> None:
    await send_to(smtp)
    smtp_server.replies["MAIL"].append(reply)
    await send_to(smtp)

    assert (smtp_server.connections, len(smtp_server.mails)) == (2, 2)

    smtp_server.replies["MAIL"].extend([reply, reply])
    with pytest.raises(SendFailed, match="provider_failed"):
        await send_to(smtp)
    assert (smtp_server.connections, len(smtp_server.mails)) == (3, 2)


async def test_a_mail_is_not_repeated_after_its_data(smtp: Smtp, smtp_server: SmtpServer) -> None:
    await send_to(smtp)
    smtp_server.replies["DATA"].append(None)
    with pytest.raises(SendFailed, match="provider_failed"):
        await send_to(smtp)

    # The second mail has arrived, although its reply was lost.
    assert (smtp_server.connections, len(smtp_server.mails)) == (1, 2)
    await send_to(smtp)
    assert (smtp_server.connections, len(smtp_server.mails)) == (2, 3)


async def test_a_server_that_scans_a_message_for_long_is_awaited(
    smtp: Smtp, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_module, "COMMAND_TIMEOUT_SECONDS", 2.0)
    smtp_server.replying.clear()
    sending = asyncio.create_task(send_to(smtp))
    await smtp_server.has_received.wait()
    asyncio.get_running_loop().call_later(2.5, smtp_server.replying.set)
    await sending

    assert len(smtp_server.mails) == 1


async def test_many_mails_share_a_few_connections(smtp: Smtp, smtp_server: SmtpServer) -> None:
    await asyncio.gather(*(send_to(smtp, f"user-{number}@example.org") for number in range(30)))

    assert len(smtp_server.mails) == 30
    assert smtp_server.connections <= MAX_CONCURRENT_SENDS


async def test_a_server_without_smtputf8_gets_no_other_than_ascii_addresses(
    smtp: Smtp, smtp_server: SmtpServer
) -> None:
    smtp_server.accepts_utf8 = False
    with pytest.raises(SendFailed) as failed:
        await send_to(smtp, "zoë@example.org")

    assert (failed.value.code, failed.value.is_final) == ("address_unsupported", True)
    await send_to(smtp)
    assert len(smtp_server.mails) == 1
