"""A worker process of the notifications service: it sends mails, and may consume the events that cause them."""

import asyncio
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.mail import mail_channel
from services.notifications.retries import RetryPolicy
from services.notifications.smtp import Smtp
from services.notifications.subscribers import users
from shared.connection_urls import dsn_of
from shared.database import Sessions, open_database
from shared.loops import connect_loops
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import KafkaConnection
from tests.chaos.forked_process import set_up_process
from tests.harness.personal_keys import StoredKeys

CONSUMER = "notifications.users"


@dataclass(frozen=True, kw_only=True)
class MailPlan:
    """The servers of a mail worker. Without Kafka it claims deliveries only, and consumes nothing."""

    database_url: str
    smtp_url: str
    folder: Path
    kafka: str | None = None
    topic_prefix: str = ""
    failpoints: str = ""


def main(plan: MailPlan) -> None:
    """Send mails until SIGTERM."""
    set_up_process(log=plan.folder / "mail-worker.log", failpoint_specification=plan.failpoints)
    asyncio.run(_send(plan))


async def _send(plan: MailPlan) -> None:
    database = open_database(plan.database_url, service="notifications", pool_size=5)
    smtp = Smtp(plan.smtp_url, local_hostname="orderly.example")
    channel = mail_channel(
        smtp,
        keys=StoredKeys().personal_keys(),
        mail_from="Orderly <no-reply@orderly.example>",
        public_url="http://127.0.0.1",
    )
    worker = DeliveryWorker(
        {"email": channel},
        dsn=dsn_of(plan.database_url),
        sessions=database.sessions,
        retry_policy=RetryPolicy(initial_delay=timedelta(seconds=1)),
    )
    # As in the service: a mail for which the worker has a free slot begins within the commit that stores it.
    connect_loops(database.sessions, [worker], notify=lambda _: None)
    consumers = _consumers(plan, database.sessions)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await asyncio.gather(consumers.run(), worker.run())
    await consumers.stop()
    await smtp.close()
    await database.close()


def _consumers(plan: MailPlan, sessions: Sessions) -> ConsumerGroups:
    return ConsumerGroups(
        [ConsumerWorker(name=CONSUMER, subscription=users, sessions=sessions)] if plan.kafka else [],
        kafka=KafkaConnection(plan.kafka or "", plan.topic_prefix),
        client_id="mail-worker",
    )
