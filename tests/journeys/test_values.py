"""Values of every kind that strangers send: the largest are applied everywhere, and none reaches a log."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import httpx2

from shared.amounts import MAX_AMOUNT_CENTS
from shared.connection_urls import dsn_of
from tests.harness.databases import as_owner
from tests.harness.mail import MailCatcher
from tests.harness.waiting import until
from tests.journeys.processes import PASSWORD, SERVICES, Customer, RunningServices, customer_of, verified_user

EMAIL_OF_MAX_LENGTH = f"{'a' * 64}@{'b' * 61}.{'c' * 61}.{'d' * 57}.example"
PASSWORD_OF_MAX_LENGTH = "\U0001fad6" * 118 + "tea leaves"
CANARY, CANARY_TIME_ZONE = "canary7391", "Africa/Ouagadougou"
REFUSE_EVENTS = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''refused: %'', convert_from(NEW.payload, ''UTF8''); END'
    """,
    "CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW WHEN (NEW.key = 'CANDLE') EXECUTE FUNCTION refuse()",
)
"""Statements after which an event of the product CANDLE fails with a message that quotes it."""
ERRORS = (
    ("orders", "dead_letter", "error"),
    ("orders", "dead_letter_action", "detail"),
    ("orders", "operation", "error"),
    ("orders", "overdue_order", "error"),
    ("orders", "pgqueuer_log", "traceback"),
    ("notifications", "dead_letter", "error"),
    ("notifications", "dead_letter_action", "detail"),
)
"""The columns of services' tables that hold errors."""
LOGGED = {
    "users": ("request_failed",),
    "orders": (
        "contact_not_stored",
        "event_dead_lettered",
        "dead_letter_replay_failed",
        "order_cancellation_failed",
    ),
    "notifications": ("contact_not_stored", "event_dead_lettered", "dead_letter_replay_failed"),
}
"""The events that each service logs with an error. Most are logged after the commit that stores the error."""


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
        "password": PASSWORD_OF_MAX_LENGTH,
        "phone": "+" + "9" * 15,
        "locale": "abc-Abcd-999",
        "time_zone": "America/Argentina/ComodRivadavia",
    }
    user_id = await verified_user(services, sign_up)
    async with httpx2.AsyncClient(base_url=services.urls["users"], timeout=20) as client:
        session = await client.post(
            "/v1/sessions", json={"email": EMAIL_OF_MAX_LENGTH, "password": PASSWORD_OF_MAX_LENGTH}
        )
    token = session.raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "tracestate": "a=" + "b" * 500, "User-Agent": "u" * 1000}
    ada = Customer(email=EMAIL_OF_MAX_LENGTH, user_id=user_id, urls=services.urls, headers=headers)
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
    """PostgreSQL quotes the whole row in the message of a constraint that fails."""
    ada = await customer_of(services, "ada")
    await _execute(services, "users", "UPDATE user_account SET roles = ARRAY['customer', 'admin']")
    admin = await ada.signed_in()
    await _fail_a_sign_in_and_events(services)
    await _fail_a_cancellation(services, admin)
    await _fail_a_republication(services, admin)

    for service, table, column in ERRORS:
        for error in await _errors_in(services, service, table=table, column=column):
            assert CANARY not in error, (service, table)
            assert CANARY_TIME_ZONE not in error, (service, table)
    for service, events in LOGGED.items():
        log = await _log_with(services, service, events)
        for canary in (CANARY, CANARY_TIME_ZONE):
            assert canary not in log, [line for line in log.splitlines() if canary in line][:3]


async def _fail_a_sign_in_and_events(services: RunningServices) -> None:
    """Fail a sign-in, the event of a sign-up at two consumers, and at both the opening of another one's data."""
    for service, table in (("orders", "customer"), ("notifications", "recipient")):
        await _execute(services, service, f"ALTER TABLE {table} ADD CHECK (name NOT LIKE '%{CANARY}%')")
        await _execute(services, service, f"ALTER TABLE sealed_contact ADD CHECK (time_zone <> '{CANARY_TIME_ZONE}')")
    await _execute(services, "users", "ALTER TABLE user_session ADD CHECK (user_agent NOT LIKE 'canary%')")
    person = {"email": f"{CANARY}@example.com", "name": f"Ada {CANARY}", "password": f"{PASSWORD}{CANARY}"}
    hostile = {"User-Agent": CANARY, "X-Request-Id": f"<{CANARY}>", "tracestate": f"a={CANARY}", "If-Match": CANARY}
    async with httpx2.AsyncClient(base_url=services.urls["users"], timeout=20, headers=hostile) as client:
        travelling = person | {"email": f"travelling-{CANARY}@example.com", "time_zone": CANARY_TIME_ZONE}
        assert [(await client.post("/v1/users", json=each)).status_code for each in (person, travelling)] == [201, 201]
        failed = await client.post("/v1/sessions", json={name: person[name] for name in ("email", "password")})
        invalid = await client.post("/v1/users", json=person | {"locale": CANARY, "email": CANARY})
    assert (failed.status_code, invalid.status_code) == (500, 422)


async def _fail_a_cancellation(services: RunningServices, admin: Customer) -> None:
    """Make an order overdue that cannot be cancelled, since nothing is reserved for it any more."""
    product = {"sku": "CANDLE", "name": CANARY, "price_cents": 100, "currency": "GBP", "stock": 9}
    await admin.request("POST", "orders", "/v1/products", json=product)
    order_id = await admin.order("CANDLE", 1)
    assert await admin.status_once_decided(order_id) == "confirmed"
    await _execute(services, "orders", "UPDATE product SET reserved = 0 WHERE sku = 'CANDLE'")
    overdue = "UPDATE customer_order SET status = 'pending', deadline = now() WHERE id = $1"
    await _execute(services, "orders", overdue, UUID(order_id))


async def _fail_a_republication(services: RunningServices, admin: Customer) -> None:
    """Begin a republication whose events cannot be recorded."""
    for statement in REFUSE_EVENTS:
        await _execute(services, "orders", statement)
    await admin.request("POST", "orders", "/v1/operations/orders/republications", json={"types": ["products"]})


async def _errors_in(services: RunningServices, service: str, *, table: str, column: str) -> list[str]:
    """Wait until a column holds an error, and return all that it holds."""
    errors: list[str] = []

    async def are_stored() -> bool:
        query = f"SELECT {column}::text FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608 - constants
        errors[:] = [error for (error,) in await _execute(services, service, query)]
        return bool(errors)

    await until(are_stored, what=f"{table} of {service} has an error", poll_seconds=0.1)
    return errors


async def _log_with(services: RunningServices, service: str, events: Sequence[str]) -> str:
    """Wait until a service has logged these events, and return its log."""
    path = services.logs / f"{service}.log"

    async def are_logged() -> bool:
        log = path.read_text()
        return all(event in log for event in events)

    await until(are_logged, what=f"{service} has logged {events}", poll_seconds=0.1)
    return path.read_text()
