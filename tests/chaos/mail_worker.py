"""A worker process with the delivery worker of the notifications service: it claims deliveries and sends mails."""

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.mail import mail_channel
from services.notifications.smtp import Smtp
from shared.database import dsn_of, open_database
from tests.chaos.forked_process import set_up_process


@dataclass(frozen=True, kw_only=True)
class MailPlan:
    """The database and the mail server of a mail worker."""

    database_url: str
    smtp_url: str
    folder: Path
    failpoints: str = ""


def main(plan: MailPlan) -> None:
    """Send mails until SIGTERM."""
    set_up_process(log=plan.folder / "mail-worker.log", failpoint_specification=plan.failpoints)
    asyncio.run(_send(plan))


async def _send(plan: MailPlan) -> None:
    database = open_database(plan.database_url, service="notifications", pool_size=5)
    smtp = Smtp(plan.smtp_url, local_hostname="orderly.example")
    channel = mail_channel(smtp, mail_from="Orderly <no-reply@orderly.example>", public_url="http://127.0.0.1")
    worker = DeliveryWorker(
        {"email": channel}, dsn=dsn_of(plan.database_url), sessions=database.sessions, max_attempts=8
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await smtp.close()
    await database.close()
