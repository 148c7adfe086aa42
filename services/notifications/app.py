"""The composition root of the notifications service."""

from datetime import timedelta
from functools import partial

from fastapi import FastAPI

from services.notifications import delivery_routes
from services.notifications.channels import Channels
from services.notifications.delivery_metrics import DELIVERIES
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.jobs import notification_jobs
from services.notifications.mail import mail_channel
from services.notifications.order_records import ACTION_SOURCES, records_of_order
from services.notifications.retries import RetryPolicy
from services.notifications.routes import router
from services.notifications.settings import Settings, address_of
from services.notifications.smtp import Smtp
from services.notifications.subscribers import SUBSCRIPTIONS
from shared.http.revocations import RevocationList
from shared.http.tokens import TokenVerifier
from shared.http.users_client import UsersClient
from shared.operations.dependencies import ServiceRecords
from shared.personal_keys import PersonalKeys
from shared.sealed_contacts import SEALED_CONTACTS
from shared.service import create_service


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts."""
    users = UsersClient(settings.users_url, token=settings.users_token, ca_file=settings.users_ca_file)
    keys = PersonalKeys(users.personal_keys)
    smtp = Smtp(settings.smtp_url, local_hostname=address_of(settings.mail_from).domain)
    channels: Channels = {
        "email": mail_channel(smtp, keys=keys, mail_from=settings.mail_from, public_url=settings.public_url)
    }
    return create_service(
        name="notifications",
        description="Notifications of account and order events, by e-mail and in the app.",
        settings=settings,
        routers=[delivery_routes.router, router],
        subscriptions=SUBSCRIPTIONS,
        jobs=notification_jobs(
            retention=timedelta(days=settings.retention_days),
            keys=keys,
            erasure_wait=timedelta(minutes=settings.erasure_wait_minutes),
        ),
        measurements=[DELIVERIES, SEALED_CONTACTS],
        records=ServiceRecords(journey=records_of_order, action_sources=ACTION_SOURCES),
        loops=[partial(DeliveryWorker, channels, retry_policy=_retry_policy(settings))],
        token_verifier=TokenVerifier(
            users.key_set,
            issuer=settings.token_issuer,
            revocations=RevocationList(users.revocations),
            clock_tolerance=settings.clock_tolerance,
        ),
        checks={"smtp": smtp.ping},
        closing=[smtp.close, users.close],
    )


def _retry_policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(
        initial_delay=timedelta(seconds=settings.delivery_initial_retry_seconds),
        max_delay=timedelta(seconds=settings.delivery_max_retry_seconds),
        period=timedelta(hours=settings.delivery_retry_hours),
    )
