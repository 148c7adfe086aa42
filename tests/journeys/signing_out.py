"""Signing out of a running system: how long each service goes on accepting the access token."""

import asyncio
import time

import asyncpg
import httpx2

from shared.connection_urls import dsn_of
from tests.harness.databases import as_owner
from tests.journeys.processes import SERVICES, Customer, RunningServices, customer_of

ROUTES = {
    "users": ("/v1/users/me", "/v1/operations/users/outbox"),
    "orders": ("/v1/orders", "/v1/operations/orders/outbox"),
    "notifications": ("/v1/notifications", "/v1/operations/notifications/outbox"),
}
"""A route for everybody and one for operators, of each service."""
TIMEOUT_SECONDS = 20


async def admin_of(services: RunningServices) -> Customer:
    """Sign up an admin, and return them signed in."""
    admin = await customer_of(services, "admin")
    connection = await asyncpg.connect(dsn_of(as_owner(services.environment["USERS_DATABASE_URL"])))
    await connection.execute("UPDATE user_account SET roles = ARRAY['admin'] WHERE email = $1", admin.email)
    await connection.close()
    return await admin.signed_in()


async def seconds_until_refused(customer: Customer) -> dict[str, float]:
    """Sign out everywhere while requests go on, and return how long each route accepted the token afterwards."""
    async with httpx2.AsyncClient(headers=dict(customer.headers), timeout=TIMEOUT_SECONDS) as client:
        urls = [f"{customer.urls[service]}{path}" for service in SERVICES for path in ROUTES[service]]
        for url in urls:
            assert (await client.get(url)).status_code == 200, url
        polling = [asyncio.create_task(_refused_at(client, url)) for url in urls]
        signed_out = await client.delete(f"{customer.urls['users']}/v1/sessions")
        signed_out_at = time.monotonic()
        assert signed_out.status_code == 204
        return {url: at - signed_out_at for url, at in zip(urls, await asyncio.gather(*polling), strict=True)}


async def _refused_at(client: httpx2.AsyncClient, url: str) -> float:
    """Send requests until one is refused, and return the time at which it was sent."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            sent_at = time.monotonic()
            response = await client.get(url)
            if response.status_code == 401:
                assert response.json()["code"] == "token_revoked"
                return sent_at
            await asyncio.sleep(0.05)
