"""The mail of the peers, on connections that are kept as Orderly keeps them."""

import os
import uuid
from email.message import EmailMessage

import aiosmtplib

_idle: list[aiosmtplib.SMTP] = []
"""The connections that send no mail at the moment: never more than were needed at once."""


async def send_confirmation(*, user_id: uuid.UUID, order_id: uuid.UUID) -> None:
    """Send the mail that confirms an order."""
    message = EmailMessage()
    message["From"] = "no-reply@orderly.example"
    message["To"] = f"{user_id}@example.com"
    message["Subject"] = "Your order is confirmed"
    message.set_content(f"Your order {order_id} is confirmed.")
    while _idle:
        try:
            await _send(message, connection=_idle.pop())
        except (aiosmtplib.SMTPServerDisconnected, OSError):
            # The server has closed the connection since its last mail.
            continue
        return
    connection = aiosmtplib.SMTP(hostname="127.0.0.1", port=int(os.environ["SMTP_PORT"]), start_tls=False)
    await connection.connect()
    await _send(message, connection=connection)


async def _send(message: EmailMessage, *, connection: aiosmtplib.SMTP) -> None:
    """Send a message and keep the connection; close it after any error."""
    try:
        await connection.send_message(message)
    except BaseException:
        connection.close()
        raise
    _idle.append(connection)
