"""The e-mail channel: sends a notification as a message with text and HTML.

The bytes of a message are put together here: `email.policy` parses and folds every header and body, and takes ten times
as long.
"""

from binascii import b2a_qp
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.utils import format_datetime

from services.notifications.channels import Attempt, Receipt, Send, SendFailed
from services.notifications.rendering import one_line, render_mail
from services.notifications.sealed_mails import opened
from services.notifications.settings import address_of
from services.notifications.smtp import Smtp
from shared.personal_keys import PersonalKeys

MAX_LINE_LENGTH = 76
"""Characters of a header's line; an encoded word must not make it longer. Source: RFC 2047, 2."""
MAX_WORD_LENGTH = MAX_LINE_LENGTH - len("Subject: ")
"""Characters of an encoded word, and of a text that needs none. They fit into the first line of their headers."""


def mail_channel(smtp: Smtp, *, keys: PersonalKeys, mail_from: str, public_url: str) -> Send:
    """Build the channel. `keys` open sealed mails. `mail_from` has the form "Name <address>"."""
    sender = address_of(mail_from)

    async def send(attempt: Attempt) -> Receipt:
        if attempt.sealed is not None:
            attempt = await opened(attempt, keys=keys)
        recipient = _recipient(attempt)
        message_id = f"<{attempt.delivery_id}@{sender.domain}>"
        message = message_of(attempt, message_id=message_id, sender=sender, recipient=recipient, public_url=public_url)
        await smtp.send(message, sender=sender.addr_spec, recipient=recipient.addr_spec)
        return Receipt(provider="smtp", provider_message_id=message_id)

    return send


def message_of(attempt: Attempt, *, message_id: str, sender: Address, recipient: Address, public_url: str) -> bytes:
    """Return the message as it is sent: lines end with CRLF, and ASCII unless an address is not."""
    rendered = render_mail(
        attempt.event_type, locale=attempt.locale, name=attempt.name, public_url=public_url, data=attempt.data
    )
    # No encoded body contains "=_".
    boundary = f"=_{attempt.delivery_id.hex}"
    headers = {
        "From": _mailbox(sender),
        "To": _mailbox(recipient),
        "Subject": rendered.subject if _is_plain(rendered.subject) else _encoded(rendered.subject),
        "Date": format_datetime(datetime.now(UTC)),
        # Every attempt has the same id, which identifies a mail that was sent twice.
        "Message-ID": message_id,
        "Auto-Submitted": "auto-generated",
        "X-Orderly-Notification": str(attempt.notification_id),
        "X-Orderly-Event-Type": attempt.event_type,
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/alternative; boundary="{boundary}"',
    }
    head = "".join(_folded(name, value) for name, value in headers.items())
    return b"".join(
        [
            head.encode(),
            _part("plain", rendered.text, boundary=boundary),
            _part("html", rendered.html, boundary=boundary),
            f"\r\n--{boundary}--\r\n".encode(),
        ]
    )


def _recipient(attempt: Attempt) -> Address:
    username, _, domain = attempt.email.rpartition("@")
    if not username or not domain or not attempt.email.isprintable() or " " in attempt.email:
        raise SendFailed("address_invalid", is_final=True)
    # Not with `addr_spec`, which rejects non-ASCII characters before the @.
    return Address(display_name=one_line(attempt.name), username=username, domain=domain)


def _mailbox(address: Address) -> str:
    """Return the address with its name, which is quoted or encoded so that it adds nothing to the header."""
    name, addr_spec = address.display_name, address.addr_spec
    if not name:
        return addr_spec
    quoted = str(address).removesuffix(f" <{addr_spec}>")
    return f"{quoted if _is_plain(quoted) else _encoded(name)} <{addr_spec}>"


def _is_plain(text: str) -> bool:
    """Return whether a header can have this text as it is."""
    return text.isascii() and len(text) <= MAX_WORD_LENGTH and "=?" not in text


def _encoded(text: str) -> str:
    """Return text as encoded words with spaces between them. Source: RFC 2047."""
    return Header(text, "utf-8", maxlinelen=MAX_WORD_LENGTH).encode(linesep="")


def _folded(name: str, value: str) -> str:
    """Return a header, folded at spaces.

    A word that is longer than a line, such as an address, does not share its line with other words.
    """
    first, *words = value.split(" ")
    lines = [f"{name}: {first}"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > MAX_LINE_LENGTH:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines) + "\r\n"


def _part(subtype: str, text: str, *, boundary: str) -> bytes:
    """Return one body with its headers. Quoted-printable makes its lines short and ASCII."""
    head = (
        f'\r\n--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    lines = "".join(f"{line}\r\n" for line in text.splitlines())
    return head.encode() + b2a_qp(lines.encode())
