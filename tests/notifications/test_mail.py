"""Mails: text, HTML and headers, languages, and input that tries to inject something."""

import dataclasses
import time
from email import message_from_bytes, message_from_string, policy
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Any, get_args

import pytest

from services.notifications.channels import Attempt, Send, SendFailed
from services.notifications.mail import message_of
from services.notifications.rendering import LOCALES, one_line, render_mail, render_title
from services.notifications.settings import address_of
from services.notifications.subscribers import orders
from shared.events.users import SecondFactorChange
from shared.ids import new_id
from tests.notifications.smtp_server import SmtpServer

DATA: dict[str, Any] = {
    "number": "O-1042",
    "total_cents": 123450,
    "currency": "GBP",
    "lines": [{"sku": "T-1", "name": "Tea & <b>cake</b>", "quantity": 3, "unit_price_cents": 1050}],
    "more_lines": 0,
    "reason": "limit_exceeded",
    "amount_cents": 99,
    "refunded_cents": 1099,
    "change": "passkey_added",
}
EVENT_TYPES = ["user.created", "user.second_factor_changed", *(event.type for event in orders.event_types)]


def attempt(**changes: Any) -> Attempt:
    confirmed = Attempt(
        delivery_id=new_id(),
        channel="email",
        number=1,
        tries=1,
        deadline=time.monotonic() + 60,
        traceparent=None,
        notification_id=new_id(),
        user_id=new_id(),
        event_id=new_id(),
        event_type="order.confirmed",
        category="orders",
        data=DATA,
        email="ann@example.org",
        name="Ann",
        locale="en",
    )
    return dataclasses.replace(confirmed, **changes)


def mail_of(event_type: str, *, locale: str = "en", **data: Any) -> Any:
    return render_mail(event_type, locale=locale, name="Ann", public_url="http://shop.example", data={**DATA, **data})


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_mail_can_be_rendered_in_every_language(event_type: str, locale: str) -> None:
    mail = mail_of(event_type, locale=locale)

    assert "Ann" in mail.text
    assert "Ann" in mail.html
    assert mail.subject in mail.html
    for leftover in ("{{", "{%", "<mj-"):
        assert leftover not in mail.subject + mail.text + mail.html
    # Opening a mail must not send a request to a font server.
    assert "googleapis" not in mail.html


def test_an_order_is_rendered_with_its_lines_and_total() -> None:
    assert mail_of("order.confirmed").text == (
        "Hello Ann,\n"
        "\n"
        "Thank you for your order O-1042. We have reserved everything, and will tell you when it ships.\n"
        "\n"
        "3 x Tea & <b>cake</b>: £31.50\n"
        "\n"
        "Total: £1,234.50\n"
        "\n"
        "-- \n"
        "You are receiving this e-mail because you have an account at http://shop.example\n"
    )


def test_lines_that_are_not_shown_are_counted() -> None:
    mail = mail_of("order.confirmed", more_lines=655)

    assert "and 655 more" in mail.text
    assert "and 655 more" in mail.html


def test_html_escapes_the_input_of_users() -> None:
    mail = mail_of("order.confirmed")

    assert "Tea &amp; &lt;b&gt;cake&lt;/b&gt;" in mail.html
    assert "<b>cake" not in mail.html


def test_every_change_of_second_factors_has_a_sentence_in_every_language() -> None:
    event_type = "user.second_factor_changed"
    sentences = {
        mail_of(event_type, locale=locale, change=change).text.splitlines()[2]
        for change in (*get_args(SecondFactorChange), "some_new_change")
        for locale in LOCALES
    }

    assert len(sentences) == len(LOCALES) * (len(get_args(SecondFactorChange)) + 1)


@pytest.mark.parametrize(
    ("event_type", "reason", "words"),
    [
        ("order.rejected", "limit_exceeded", "Your credit does not cover its total."),
        ("order.rejected", "some_new_reason", "It could not be paid with your credit."),
        ("order.cancelled", "customer", "You asked us to cancel it."),
        ("order.cancelled", "deadline", "It could not be confirmed in time."),
    ],
)
def test_reasons_are_rendered_as_sentences(event_type: str, reason: str, words: str) -> None:
    mail = mail_of(event_type, reason=reason)

    assert words in mail.text
    assert words in mail.html
    assert reason not in mail.text.lower().split()


@pytest.mark.parametrize(
    ("locale", "title"),
    [
        ("de", "Bestellung O-1042 ist bestätigt"),
        ("de-AT", "Bestellung O-1042 ist bestätigt"),
        ("DE_ch", "Bestellung O-1042 ist bestätigt"),
        ("en-GB", "Order O-1042 is confirmed"),
        ("fr", "Order O-1042 is confirmed"),
        ("../de", "Order O-1042 is confirmed"),
        ("", "Order O-1042 is confirmed"),
    ],
)
def test_a_locale_without_templates_gets_english(locale: str, title: str) -> None:
    assert render_title("order.confirmed", locale=locale, data=DATA) == title


@pytest.mark.parametrize(
    ("locale", "currency", "cents", "shown"),
    [
        ("en", "GBP", 5, "£0.05"),
        ("en", "EUR", -123456789, "-€1,234,567.89"),
        ("en", "CHF", 100, "1.00\N{NO-BREAK SPACE}CHF"),
        ("de", "EUR", 123456789, "1.234.567,89\N{NO-BREAK SPACE}€"),
        ("de", "CHF", -1, "-0,01\N{NO-BREAK SPACE}CHF"),
    ],
)
def test_money_is_formatted_for_the_language(locale: str, currency: str, cents: int, shown: str) -> None:
    mail = mail_of("order.shipped", locale=locale, currency=currency, total_cents=cents)

    assert shown in mail.text


async def test_a_mail_has_the_headers_that_identify_it(send: Send, smtp_server: SmtpServer) -> None:
    sent = attempt()

    await send(sent)

    [mail] = smtp_server.mails
    assert {name: mail[name] for name in ("From", "To", "Subject", "Auto-Submitted")} == {
        "From": "Orderly <no-reply@orderly.example>",
        "To": "Ann <ann@example.org>",
        "Subject": "Order O-1042 is confirmed",
        "Auto-Submitted": "auto-generated",
    }
    assert mail["X-Orderly-Notification"] == str(sent.notification_id)
    assert mail["X-Orderly-Event-Type"] == "order.confirmed"
    assert mail["Date"].datetime.tzinfo is not None
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert "Total: £1,234.50" in plain.get_content()


@pytest.mark.parametrize(
    "name",
    ["Ann\r\nBcc: eve@example.org", "Ann\nBcc: eve@example.org\n\nbody", "Ann\u2028Bcc: x", 'Ann" <eve@example.org>,'],
)
async def test_a_name_can_not_add_a_header_or_a_recipient(send: Send, smtp_server: SmtpServer, name: str) -> None:
    await send(attempt(name=name))

    [mail] = smtp_server.mails
    assert mail["Bcc"] is None
    assert [address.addr_spec for address in mail["To"].addresses] == ["ann@example.org"]


@pytest.mark.parametrize("email", ["zoe@example.org", "zoë@example.org"])
async def test_a_non_ascii_name_and_address_arrive(send: Send, smtp_server: SmtpServer, email: str) -> None:
    await send(attempt(name="Zoë Müller-Lüdenscheidt", email=email))

    [mail] = smtp_server.mails
    [recipient] = mail["To"].addresses
    assert (recipient.display_name, recipient.addr_spec) == ("Zoë Müller-Lüdenscheidt", email)


@pytest.mark.parametrize("email", ["", "nobody", "a@b\r\nRCPT TO:<eve@example.org>", "a b@example.org"])
async def test_an_invalid_address_fails_finally(send: Send, smtp_server: SmtpServer, email: str) -> None:
    with pytest.raises(SendFailed) as failed:
        await send(attempt(email=email))

    assert (failed.value.code, failed.value.is_final) == ("address_invalid", True)
    assert smtp_server.mails == []


def message_to(sent: Attempt, *, sender: str = "Orderly <no-reply@orderly.example>") -> bytes:
    username, _, domain = sent.email.rpartition("@")
    return message_of(
        sent,
        message_id="<1@orderly.example>",
        sender=address_of(sender),
        recipient=Address(display_name=one_line(sent.name), username=username, domain=domain),
        public_url="http://shop.example",
    )


@pytest.mark.parametrize("name", ["Ann", "Zoë " * 200, "A" * 2000, "=?utf-8?q?Eve?= <eve@example.org>"])
def test_lines_are_short_and_end_with_crlf(name: str) -> None:
    data = {**DATA, "lines": [{**DATA["lines"][0], "name": "Tea\r\n.\n" + "very long " * 500}]}
    message = message_to(attempt(name=name, data=data))

    lines = message.split(b"\r\n")
    assert max(len(line) for line in lines) <= 76
    assert not any(end in line for line in lines for end in (b"\r", b"\n"))
    assert message.isascii()
    parsed = message_from_bytes(message, policy=policy.default)
    assert [address.addr_spec for address in parsed["To"].addresses] == ["ann@example.org"]
    text, html = parsed.iter_parts()
    assert "very long very long" in text.get_content()
    assert "very long very long" in html.get_content()


def name_in(mailbox: str) -> str:
    """Return the decoded name; the parser of `policy.default` keeps the spaces between encoded words of a name."""
    return str(make_header(decode_header(parseaddr(mailbox)[0])))


NAMES = [
    "",
    "Ann",
    "Ann " * 20 + "Lee",
    "Zoë",
    "Zoë Müller-Lüdenscheidt " * 5 + "x",
    "漢字😀" * 40,
    '"' * 66,
    "\\," * 50,
]
EMAILS = [
    "ann@example.org",
    f"{'a' * 64}@example.org",
    f"{'a' * 64}@{'b' * 60}.{'c' * 60}.example.org",
    "zoë@exämple.org",
]
NUMBERS = ["1", "1" * 200, "Ä" * 20, "Ä" * 37, "é 漢字😀" * 100]


@pytest.mark.parametrize("number", NUMBERS, ids=len)
@pytest.mark.parametrize("email", EMAILS, ids=len)
@pytest.mark.parametrize("name", NAMES, ids=len)
def test_a_line_with_an_encoded_word_is_at_most_as_long_as_rfc_2047_allows(name: str, email: str, number: str) -> None:
    """The first line of a header exceeded it by the header's name, and the last line of a mailbox by its address."""
    sent = attempt(name=name, email=email, locale="de", data={**DATA, "number": number})

    message = message_to(sent, sender=f"{'Grüße ' * 20}x <no-reply@orderly.example>").decode()

    head = message.partition("\r\n\r\n")[0].split("\r\n")
    assert [line for line in head if len(line) > 76 and ("=?" in line or email not in line)] == []
    assert [word for line in head for word in line.split(" ") if "=?" in word and len(word) > 75] == []
    assert all(line.strip() for line in head)
    parsed = message_from_string(message, policy=policy.default)
    assert parsed["Subject"] == f"Bestellung {number} ist bestätigt"
    assert [one.addr_spec for one in parsed["To"].addresses + parsed["From"].addresses] == [
        email,
        "no-reply@orderly.example",
    ]
    assert parsed["Content-Type"].params["boundary"] == f"=_{sent.delivery_id.hex}"
    raw = message_from_string(message)
    assert (name_in(raw["To"]), name_in(raw["From"])) == (name, "Grüße " * 20 + "x")


async def test_text_that_looks_like_an_encoded_word_stays_as_it_is(send: Send, smtp_server: SmtpServer) -> None:
    await send(attempt(name="=?utf-8?q?Eve?="))

    [mail] = smtp_server.mails
    assert [address.display_name for address in mail["To"].addresses] == ["=?utf-8?q?Eve?="]
