"""The e-mail channel: sends a notification as a message with text and HTML."""

from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from services.notifications.channels import Attempt, Receipt, Send, SendFailed
from services.notifications.rendering import one_line, render_mail
from services.notifications.settings import address_of
from services.notifications.smtp import Smtp


def mail_channel(smtp: Smtp, *, mail_from: str, public_url: str) -> Send:
    """Build the channel. `mail_from` has the form "Name <address>"."""
    sender = address_of(mail_from)

    async def send(attempt: Attempt) -> Receipt:
        recipient = _recipient(attempt)
        message_id = f"<{attempt.delivery_id}@{sender.domain}>"
        message = _message(attempt, message_id=message_id, sender=sender, recipient=recipient, public_url=public_url)
        await smtp.send(message, sender=sender.addr_spec, recipient=recipient.addr_spec)
        return Receipt(provider="smtp", provider_message_id=message_id)

    return send


def _recipient(attempt: Attempt) -> Address:
    username, _, domain = attempt.email.rpartition("@")
    if not username or not domain or not attempt.email.isprintable() or " " in attempt.email:
        raise SendFailed("address_invalid", is_final=True)
    # Not with `addr_spec`, which rejects non-ASCII characters before the @.
    return Address(display_name=one_line(attempt.name), username=username, domain=domain)


def _message(
    attempt: Attempt, *, message_id: str, sender: Address, recipient: Address, public_url: str
) -> EmailMessage:
    rendered = render_mail(
        attempt.event_type, locale=attempt.locale, name=attempt.name, public_url=public_url, data=attempt.data
    )
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = rendered.subject
    message["Date"] = datetime.now(UTC)
    # Every attempt has the same id, which identifies a mail that was sent twice.
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    message["X-Orderly-Notification"] = str(attempt.notification_id)
    message["X-Orderly-Event-Type"] = attempt.event_type
    message.set_content(rendered.text, cte="quoted-printable")
    message.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    return message
