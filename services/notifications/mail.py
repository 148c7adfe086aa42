"""The e-mail channel: a notification as a message with text and HTML."""

from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr

from services.notifications.channels import Outgoing, Receipt, Send, Undelivered
from services.notifications.rendering import one_line, render_mail
from services.notifications.smtp import Smtp


def mail_channel(smtp: Smtp, *, mail_from: str, public_url: str) -> Send:
    """`mail_from`: "Name <address>"."""
    sender = address_of(mail_from)

    async def send(outgoing: Outgoing) -> Receipt:
        recipient = _recipient(outgoing)
        message_id = f"<{outgoing.delivery_id}@{sender.domain}>"
        message = _message(outgoing, message_id=message_id, sender=sender, recipient=recipient, public_url=public_url)
        await smtp.send(message, sender=sender.addr_spec, recipient=recipient.addr_spec)
        return Receipt(provider="smtp", provider_message_id=message_id)

    return send


def address_of(mailbox: str) -> Address:
    """Read "Name <address>"."""
    name, address = parseaddr(mailbox)
    return Address(display_name=name, addr_spec=address)


def _recipient(outgoing: Outgoing) -> Address:
    username, _, domain = outgoing.email.rpartition("@")
    if not username or not domain or not outgoing.email.isprintable() or " " in outgoing.email:
        raise Undelivered("address_invalid", is_final=True)
    # Not by `addr_spec`, which refuses a name before the @ that is not ASCII.
    return Address(display_name=one_line(outgoing.name), username=username, domain=domain)


def _message(
    outgoing: Outgoing, *, message_id: str, sender: Address, recipient: Address, public_url: str
) -> EmailMessage:
    rendered = render_mail(
        outgoing.event_type, locale=outgoing.locale, name=outgoing.name, public_url=public_url, data=outgoing.data
    )
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = rendered.subject
    message["Date"] = datetime.now(UTC)
    # The same at every try: a mail that was sent twice is known by it.
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    message["X-Orderly-Notification"] = str(outgoing.notification_id)
    message["X-Orderly-Event-Type"] = outgoing.event_type
    message.set_content(rendered.text, cte="quoted-printable")
    message.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    return message
