"""The mail of the peers."""

import os
import uuid
from email.message import EmailMessage

import aiosmtplib


async def send_confirmation(*, user_id: uuid.UUID, order_id: uuid.UUID) -> None:
    """Send the mail that confirms an order, on a connection of its own."""
    message = EmailMessage()
    message["From"] = "no-reply@orderly.example"
    message["To"] = f"{user_id}@example.com"
    message["Subject"] = "Your order is confirmed"
    message.set_content(f"Your order {order_id} is confirmed.")
    await aiosmtplib.send(message, hostname="127.0.0.1", port=int(os.environ["SMTP_PORT"]), start_tls=False)
