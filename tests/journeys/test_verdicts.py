"""The verdict of a journey names the cause for which an order is stuck, and what helps against it."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.notifications.channels import Attempt, SendFailed
from services.notifications.deliveries import Outcome, record_outcomes
from services.notifications.retries import RetryPolicy
from shared.events.users import CreditReserved
from tests.access.system import running_system
from tests.harness.builders import received
from tests.harness.databases import DatabaseFactory
from tests.journeys.by_hand import ByHand, by_hand

LONG = timedelta(minutes=42)


@pytest.fixture
async def hand(database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path) -> AsyncIterator[ByHand]:
    async with (
        running_system(database_factory, valkey_url=valkey_url, folder=tmp_path) as system,
        by_hand(system) as running,
    ):
        yield running


async def verdict_on(hand: ByHand, order: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a verdict that a test can know, with what helps as the command or else the route."""
    verdict = (await hand.journey(order["number"]))["verdict"]
    advice = verdict["advice"]
    return {name: verdict[name] for name in ("state", "cause", "service")} | {
        "reason": re.sub(r"for \d s\b", "for 0 s", verdict["reason"]),
        "helps": advice and (advice["command"] or advice["route"]),
    }


async def test_events_that_are_not_sent(hand: ByHand) -> None:
    order = await hand.place(hand.system.other)
    young = await verdict_on(hand, order)
    await hand.age("orders", "outbox", "occurred_at", key=("key", order["id"]), by=LONG)
    without_relay = await verdict_on(hand, order)
    async with hand.system.sessions("orders").begin() as session:
        await session.execute(sa.text("INSERT INTO relay_lease VALUES (0, 'r', 1, now() + interval '1 hour')"))
    without_kafka = await verdict_on(hand, order)

    waits = "The order waits for its credit: order.created has been in the outbox of orders for"
    assert young == {
        "state": "in_progress",
        "cause": "relay_away",
        "service": "orders",
        "reason": f"{waits} 0 s; no relay leads.",
        "helps": "python -m services.orders outbox status",
    }
    assert without_relay == young | {"state": "stuck", "reason": f"{waits} 42 min; no relay leads."}
    assert without_kafka["reason"].startswith(f"{waits} 42 min; Kafka does not answer (")
    assert without_kafka | {"reason": ""} == without_relay | {"cause": "kafka_away", "reason": ""}


async def test_events_that_are_not_applied(hand: ByHand) -> None:
    order = await hand.place(hand.system.other)
    id_ = order["id"]
    created = await hand.send("orders", id_)
    await hand.age("orders", "outbox_sent", "sent_at", key=("key", id_), by=LONG)
    without_consumer = await verdict_on(hand, order)
    await hand.close()
    hand.ask_at({"users": "http://127.0.0.1:1", "notifications": hand.urls["notifications"]})
    await hand.age("orders", "customer_order", "created_at", key=("id", id_), by=LONG)
    without_users, parts = await verdict_on(hand, order), (await hand.journey(id_))["services"]
    await hand.close()
    hand.ask_at(hand.urls)
    await hand.apply("users", created)
    waiting_for_relay_of_users = await verdict_on(hand, order)

    waits = "The order waits for its credit:"
    assert without_consumer == {
        "state": "stuck",
        "cause": "consumer_stopped",
        "service": "users",
        "reason": f"{waits} order.created has been in Kafka for 42 min,"
        " and the consumer users.orders has not applied it (not started yet).",
        "helps": "GET /health",
    }
    assert without_users == {
        "state": "stuck",
        "cause": "service_unavailable",
        "service": "users",
        "reason": "users does not answer (unreachable), and the order waits for its credit.",
        "helps": "GET /health/ready",
    }
    assert {part["service"]: (part["state"], part["reason"]) for part in parts} == {
        "orders": ("complete", None),
        "users": ("unavailable", "unreachable"),
        "notifications": ("complete", None),
    }
    assert waiting_for_relay_of_users == {
        "state": "in_progress",
        "cause": "relay_away",
        "service": "users",
        "reason": f"{waits} user.credit_reserved has been in the outbox of users for 0 s; no relay leads.",
        "helps": "python -m services.users outbox status",
    }


async def test_a_dead_letter_that_blocks_the_reply(hand: ByHand) -> None:
    order = await hand.place(hand.system.other)
    sent = await hand.reserve(order)
    reply = next(event for event in sent if event.context and event.context.type == "user.credit_reserved")
    assert reply.context is not None
    wrong = CreditReserved(
        user_id=hand.system.other.id, order_id=UUID(order["id"]), amount_cents=order["total_cents"] + 1, currency="GBP"
    )
    await hand.apply("orders", [received(wrong, sequence=1)])
    await hand.apply("orders", [reply])
    journey = await hand.journey(order["id"])
    letters = [entry for entry in journey["entries"] if entry["kind"] == "dead_letter"]
    first = letters[0]["details"]
    assert [(letter["details"]["reason"], letter["details"]["consumer"]) for letter in letters] == [
        ("rule_violated", "orders.users"),
        ("blocked", "orders.users"),
    ]
    verdict = journey["verdict"]
    assert (verdict["state"], verdict["cause"], verdict["service"]) == ("stuck", "dead_letter", "orders")
    assert verdict["reason"] == (
        "The order waits for its credit: the event user.credit_reserved is queued behind the dead letter"
        f" {first['id']} of orders.users (user.credit_reserved: {first['error']})."
    )
    assert verdict["event_id"] == str(reply.context.event_id)
    assert verdict["advice"]["command"] == f"python -m services.orders dead-letters replay --id {first['id']}"
    header = hand.system.accounts["support"].header
    blocked = (await hand.system.clients["orders"].get("/v1/operations/orders/blocked-keys", headers=header)).json()
    assert [(each["consumer"], each["key"], each["dead_letters"]) for each in blocked["items"]] == [
        ("orders.users", order["user_id"], 2)
    ]


async def record_failure(hand: ByHand, order: dict[str, Any], failure: SendFailed) -> UUID:
    """Let the attempt of the mail about an order fail, long ago; return the delivery's id."""
    sessions = hand.system.sessions("notifications")
    async with sessions.begin() as session:
        query = sa.text("""
            SELECT d.id, n.id, n.user_id, n.event_id, n.event_type
            FROM delivery d JOIN notification n ON n.id = d.notification_id
            WHERE n.data->>'order_id' = :id AND d.channel = 'email'
        """)
        delivery_id, notification_id, user_id, event_id, event_type = (
            await session.execute(query, {"id": order["id"]})
        ).one()
        attempt = Attempt(
            delivery_id=delivery_id,
            channel="email",
            number=1,
            tries=1,
            deadline=0,
            traceparent=None,
            notification_id=notification_id,
            user_id=user_id,
            event_id=event_id,
            event_type=event_type,
            category="orders",
            data={},
            email="",
            name="",
            locale="en",
        )
        retry_delay = None if failure.is_final else timedelta(seconds=60)
        outcome = Outcome(attempt, failure, "failed" if failure.is_final else "retrying", retry_delay)
        await record_outcomes(session, [outcome], retry_policy=RetryPolicy())
    await hand.age("notifications", "delivery", "first_due_at", key=("id", delivery_id), by=LONG)
    return UUID(str(delivery_id))


async def test_credit_that_is_refused_and_mails_that_are_not_sent(hand: ByHand) -> None:
    customer = hand.system.other
    await hand.let_recipient_be_known(customer)
    order, too_expensive = await hand.place(customer), await hand.place(customer, quantity=1_000)
    await hand.decide(order)
    await hand.decide(too_expensive)
    deferred = await record_failure(hand, order, SendFailed("recipient_refused", reply_code=421))
    failed = await record_failure(hand, too_expensive, SendFailed("recipient_refused", is_final=True, reply_code=550))
    resend = 'python -m services.notifications deliveries resend --id {} --note "..."'

    assert await verdict_on(hand, order) == {
        "state": "stuck",
        "cause": "mail_retrying",
        "service": "notifications",
        "reason": "The order is confirmed; the mail is not sent for 42 min, after 1 attempts: recipient_refused; the"
        " mail server answered 421.",
        "helps": resend.format(deferred),
    }
    assert await verdict_on(hand, too_expensive) == {
        "state": "stuck",
        "cause": "mail_failed",
        "service": "notifications",
        "reason": "The order is rejected; the mail was not sent, and is not tried again: recipient_refused; the mail"
        " server answered 550.",
        "helps": resend.format(failed),
    }
    async with hand.system.sessions("notifications").begin() as session:
        await session.execute(sa.text("DELETE FROM delivery WHERE channel = 'email'"))
    assert await verdict_on(hand, too_expensive) == {
        "state": "done",
        "cause": "credit_refused",
        "service": "users",
        "reason": "The order was rejected: the customer's credit limit does not cover it (limit_exceeded).",
        "helps": f"PUT /v1/users/{customer.id}/credit-limit",
    }
