"""An erased user's e-mail addresses, name, phone and bio are found nowhere, after a whole life as a customer."""

import asyncio
import json
import os
import re
import sys
from typing import Any

import asyncpg
import httpx2
import redis.asyncio as redis

from shared.connection_urls import dsn_of
from shared.events.topics import TOPICS
from tests.harness.databases import as_owner
from tests.harness.kafka_topics import read_topic
from tests.harness.mail import MailCatcher
from tests.harness.remaining_data import tables_with
from tests.harness.waiting import until
from tests.journeys.processes import (
    PASSWORD,
    SERVICES,
    Customer,
    RunningServices,
    broken_invariants,
)

EMAIL, NEW_EMAIL, NAME = "marked-ada@example.com", "marked-augusta@example.com", "Marked Lovelace"
PHONE, BIO = "+442071838751", "marked mathematician"
MARKS = (EMAIL, NEW_EMAIL, NAME, PHONE, BIO)
TOKEN = re.compile(r"token=([\w-]+)")


async def marked_customer(services: RunningServices, catcher: MailCatcher) -> Customer:
    """Sign up, verify the address by the mailed link, sign in, and set a bio."""
    body = {"email": EMAIL, "name": NAME, "phone": PHONE, "password": PASSWORD}
    stranger = Customer(EMAIL, "", services.urls, headers={"Idempotency-Key": "sign-up"})
    user = await stranger.request("POST", "users", "/v1/users", json=body)
    token = await mailed_token(catcher, to=EMAIL)
    unknown = Customer(EMAIL, str(user["id"]), services.urls, headers={})
    await redeem(services, "/v1/email-verifications", token)
    customer = await unknown.signed_in()
    async with httpx2.AsyncClient(base_url=services.urls["users"], headers=customer.headers) as client:
        (await client.patch("/v1/users/me", json={"bio": BIO}, headers={"If-Match": "*"})).raise_for_status()
    return customer


async def mailed_token(catcher: MailCatcher, *, to: str) -> str:
    """Wait for a mail with a link, and return its token."""
    (mail,) = await catcher.wait_for(to=to, subject="address", timeout_seconds=30)
    found = TOKEN.search(mail["text"])
    assert found is not None, mail["text"]
    return found[1]


async def redeem(services: RunningServices, path: str, token: str) -> None:
    """Use a one-time token."""
    async with httpx2.AsyncClient(base_url=services.urls["users"]) as client:
        (await client.post(path, json={"token": token, "password": PASSWORD})).raise_for_status()


async def change_email(services: RunningServices, customer: Customer, catcher: MailCatcher) -> None:
    change = {"email": NEW_EMAIL}
    await customer.request("POST", "users", "/v1/users/me/email-change", json=change)
    token = await mailed_token(catcher, to=NEW_EMAIL)
    await redeem(services, "/v1/email-changes", token)


async def store_dead_letters(services: RunningServices, user_id: str) -> None:
    """Store records of strangers about the user in every service, as if they had come from a topic."""
    payload = json.dumps({"user_id": user_id, "email": EMAIL, "name": NAME}).encode()
    for dsn in dsns_of(services).values():
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            """INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
               VALUES ('odd', 'odd', 0, 0, 'odd', '{}', $1, 'foreign')""",
            payload,
        )
        await connection.close()


def dsns_of(services: RunningServices) -> dict[str, str]:
    return {name: dsn_of(as_owner(services.environment[f"{name.upper()}_DATABASE_URL"])) for name in SERVICES}


async def cached(valkey_url: str) -> str:
    """Return all keys and values of Valkey."""
    found: list[Any] = []
    async with redis.Redis.from_url(valkey_url) as client:
        async for key in client.scan_iter():
            kind = await client.type(key)
            found += [key, await client.hgetall(key) if kind == b"hash" else await client.dump(key)]
    return repr(found)


async def places_with_marks(services: RunningServices) -> list[str]:
    """Return the tables, topics, logs and caches that hold one of the marks."""
    places = []
    for service, dsn in dsns_of(services).items():
        places += [f"{service}.{table}" for table in await tables_with(dsn, MARKS)]
        log = (services.logs / f"{service}.log").read_text()
        places += [f"log of {service}" for mark in MARKS if mark.lower() in log.lower()]
    environment = services.environment
    for topic in TOPICS:
        name = environment["USERS_KAFKA_TOPIC_PREFIX"] + topic.name
        records = await read_topic(environment["USERS_KAFKA_BOOTSTRAP_SERVERS"], name)
        text = repr([(record.key, record.value, record.headers) for record in records]).lower()
        places += [f"topic {topic.name}" for mark in MARKS if mark.lower() in text]
    values = (await cached(environment["USERS_VALKEY_URL"])).lower()
    return places + ["cache" for mark in MARKS if mark.lower() in values]


async def repeated_from_topic(services: RunningServices) -> list[dict[str, Any]]:
    """Run the command that repeats the erasures of the topic, and return its outcomes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.users", "erasures", "repeat", "--from-topic", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **services.environment},
    )
    out, _ = await process.communicate()
    outcomes: list[dict[str, Any]] = json.loads(out)
    return outcomes


async def test_an_erased_user_is_found_nowhere(services: RunningServices, smtp_catcher: MailCatcher) -> None:
    ada = await marked_customer(services, smtp_catcher)
    affordable, too_expensive = await ada.order("LAMP", 60), await ada.order("LAMP", 50)
    assert await ada.status_once_decided(affordable) == "confirmed"
    assert await ada.status_once_decided(too_expensive) == "rejected"
    await change_email(services, ada, smtp_catcher)
    await store_dead_letters(services, ada.user_id)
    before = await places_with_marks(services)

    receipt = await ada.request("POST", "users", "/v1/users/me/erasure")

    async def is_completed() -> bool:
        async with httpx2.AsyncClient(base_url=services.urls["users"]) as client:
            response = await client.get(f"/v1/erasures/{receipt['id']}/receipt")
        return bool(response.json()["status"] == "completed")

    await until(is_completed, what="the erasure is completed", poll_seconds=0.1)
    expected = {"users.user_account", "users.idempotency_key", "orders.customer", "notifications.recipient"}
    assert expected <= set(before)
    assert {f"{service}.dead_letter" for service in SERVICES} <= set(before)
    assert await places_with_marks(services) == []
    assert {each["subject"] for each in await smtp_catcher.messages(to=NEW_EMAIL)} >= {"Your account is being erased"}
    assert await broken_invariants(services) == []
    outcome = {"id": receipt["id"], "user_id": ada.user_id, "outcome": "known"}
    assert await repeated_from_topic(services) == [outcome]
