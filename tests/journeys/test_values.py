"""Values of every kind that strangers send: the largest are applied everywhere, and none reaches a log."""

from uuid import UUID

import asyncpg
import httpx2

from shared.amounts import MAX_AMOUNT_CENTS
from shared.connection_urls import dsn_of
from tests.harness.databases import as_owner
from tests.harness.mail import MailCatcher
from tests.harness.waiting import until
from tests.journeys.processes import PASSWORD, SERVICES, Customer, RunningServices, customer_of

EMAIL_OF_MAX_LENGTH = f"{'a' * 64}@{'b' * 61}.{'c' * 61}.{'d' * 57}.example"
CANARY = "canary7391"


async def _execute(
    services: RunningServices, service: str, statement: str, *parameters: object
) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn_of(as_owner(services.environment[f"{service.upper()}_DATABASE_URL"])))
    try:
        return list(await connection.fetch(statement, *parameters))
    finally:
        await connection.close()


async def test_the_largest_values_of_every_request_are_applied_by_all_services(
    services: RunningServices, smtp_catcher: MailCatcher
) -> None:
    sign_up = {
        "email": EMAIL_OF_MAX_LENGTH,
        "name": "\U0001fad6" * 200,
        "password": "p" * 128,
        "phone": "+" + "9" * 15,
        "locale": "abc-Abcd-999",
        "time_zone": "America/Argentina/ComodRivadavia",
    }
    async with httpx2.AsyncClient(base_url=services.urls["users"], timeout=20) as client:
        signed_up = (await client.post("/v1/users", json=sign_up)).raise_for_status().json()
        session = await client.post("/v1/sessions", json={"email": EMAIL_OF_MAX_LENGTH, "password": "p" * 128})
    token = session.raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "tracestate": "a=" + "b" * 500, "User-Agent": "u" * 1000}
    ada = Customer(email=EMAIL_OF_MAX_LENGTH, user_id=signed_up["id"], urls=services.urls, headers=headers)
    await _execute(
        services,
        "users",
        "UPDATE credit_account SET limit_cents = $1 WHERE user_id = $2",
        MAX_AMOUNT_CENTS,
        UUID(ada.user_id),
    )
    await _execute(
        services,
        "orders",
        """INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
            VALUES (repeat('S', 40), repeat('\U0001fad6', 100), '', $1, 'GBP', 1000000000, 0, true, 1),
                   (repeat('T', 40), 'Screw', '', 1, 'GBP', 1000000000, 0, true, 1)""",
        MAX_AMOUNT_CENTS,
    )

    dearest, most_units = await ada.order("S" * 40, 1), await ada.order("T" * 40, 99_999)

    assert await ada.status_once_decided(dearest) == "confirmed"
    assert await ada.status_once_decided(most_units) == "rejected"
    assert await ada.credit() == (MAX_AMOUNT_CENTS, 0)
    await smtp_catcher.wait_for(to=EMAIL_OF_MAX_LENGTH, count=3, timeout_seconds=40)
    for service in SERVICES:
        assert await _execute(services, service, "SELECT consumer, error FROM dead_letter") == [], service


async def test_no_value_of_a_request_reaches_a_log_or_an_error_column(services: RunningServices) -> None:
    """Constraints that fail: PostgreSQL quotes the whole row in its message."""
    ada = await customer_of(services, "ada")
    for service, table, column in (("orders", "customer", "name"), ("notifications", "recipient", "name")):
        await _execute(
            services, service, f"ALTER TABLE {table} ADD CONSTRAINT no_canary CHECK ({column} NOT LIKE '%{CANARY}%')"
        )
    await _execute(services, "orders", "ALTER TABLE order_timeline ADD CHECK (reason IS NULL)")
    await _execute(services, "users", "ALTER TABLE user_session ADD CHECK (user_agent NOT LIKE 'canary%')")
    person = {"email": f"{CANARY}@example.com", "name": f"Ada {CANARY}", "password": f"{PASSWORD}{CANARY}"}
    hostile = {"User-Agent": CANARY, "X-Request-Id": f"<{CANARY}>", "tracestate": f"a={CANARY}", "If-Match": CANARY}
    async with httpx2.AsyncClient(base_url=services.urls["users"], timeout=20, headers=hostile) as client:
        assert (await client.post("/v1/users", json=person)).status_code == 201
        failed = await client.post("/v1/sessions", json={name: person[name] for name in ("email", "password")})
        invalid = await client.post("/v1/users", json=person | {"locale": CANARY, "email": CANARY})
    assert (failed.status_code, invalid.status_code) == (500, 422)
    order_id = await ada.order("LAMP", 1)
    assert await ada.status_once_decided(order_id) == "confirmed"

    for service in ("orders", "notifications"):

        async def is_dead_letter(service: str = service) -> bool:
            query = "SELECT error FROM dead_letter WHERE error LIKE '%no_canary%'"
            return bool(await _execute(services, service, query))

        await until(is_dead_letter, seconds=40, what=f"{service} has a dead letter", poll_seconds=0.1)
    for service in SERVICES:
        log = (services.logs / f"{service}.log").read_text()
        assert CANARY not in log, [line for line in log.splitlines() if CANARY in line][:3]
        for query in (
            "SELECT error FROM dead_letter WHERE error LIKE $1",
            "SELECT detail FROM dead_letter_action WHERE detail LIKE $1",
            "SELECT error FROM operation WHERE error LIKE $1",
            "SELECT traceback FROM pgqueuer_log WHERE traceback::text LIKE $1",
        ):
            assert await _execute(services, service, query, f"%{CANARY}%") == []
