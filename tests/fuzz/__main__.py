"""`python -m tests.fuzz`: send thousands of generated requests to each service of the running system, or of its own.

It leaves many accounts, products and orders behind.
"""

import argparse
import asyncio
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

import httpx2
from rich.console import Console

from deploy.demo.system import RunningSystem, running_system
from deploy.local.credentials import ADMIN_EMAIL, SERVICES
from deploy.local.process import LocalError
from deploy.local.screen import Screen
from deploy.local.settings import LocalSettings
from tests.fuzz.runner import Run

SETTINGS = {
    "USERS_RATE_LIMIT": "1000000/second",
    "ORDERS_RATE_LIMIT": "1000000/second",
    "NOTIFICATIONS_RATE_LIMIT": "1000000/second",
    "USERS_ROUTE_RATE_LIMITS": "*=1000000/second",
    "ORDERS_ROUTE_RATE_LIMITS": "*=1000000/second",
    "NOTIFICATIONS_ROUTE_RATE_LIMITS": "*=1000000/second",
    "USERS_ACCESS_TOKEN_MINUTES": "60",
    "USERS_STEP_UP_MINUTES": "60",
    "USERS_SHARED_CLIENT_NETWORKS": "127.0.0.0/8",
    "USERS_SIGN_UP_LIMIT_PER_EMAIL": "1000000/hour",
    "USERS_MAILED_LINK_LIMIT_PER_EMAIL": "1000000/hour",
    "USERS_REFRESH_LIMIT_PER_TOKEN": "1000000/hour",
    "USERS_SIGN_IN_FREE_FAILURES": "1000000",
    "USERS_SIGN_IN_FREE_FAILURES_PER_ACCOUNT": "1000000",
    "USERS_SIGN_IN_FREE_FAILURES_PER_HOST": "1000000",
}
"""Settings of the system to test. With its usual limits, most requests would get a 429."""


def arguments() -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=5_000, help="test cases for each service; default: 5000")
    parser.add_argument("--service", choices=SERVICES, action="append", help="only this service; may be repeated")
    parser.add_argument("--seed", type=int, default=None, help="repeat the run that printed this seed")
    return parser.parse_args()


async def fuzz(services: Sequence[str], *, cases: int, seed: int) -> bool:
    """Run Schemathesis against each service; return whether all passed. Raises: LocalError."""
    settings, passed = LocalSettings(), True
    os.environ.update(SETTINGS)
    async with running_system(settings, screen=Screen(Console(stderr=True))) as system:
        await _require_limits(settings)
        for service in services:
            run = Run(
                url=_url_of(settings, service),
                token=await _admin_token(settings, system),
                cases=cases,
                seed=seed,
                skus=await _skus(settings),
                password=system.admin_password,
            )
            outcome = await run.run()
            passed = passed and outcome.passed
            print(outcome.output)  # noqa: T201
            print(f"{service}: {outcome.cases} test cases, seed {seed}, {'passed' if outcome.passed else 'FAILED'}")  # noqa: T201
    return passed


async def _require_limits(settings: LocalSettings) -> None:
    """Check that a system that was running before has the settings. Raises: LocalError."""
    async with httpx2.AsyncClient(base_url=_url_of(settings, "orders")) as client:
        policy = (await client.get("/v1/products?limit=1")).headers.get("RateLimit-Policy", "")
    if SETTINGS["ORDERS_RATE_LIMIT"].partition("/")[0] not in policy:
        variables = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
        raise LocalError(f"The system has its usual limits. Stop it, or start it with: {variables} make run")


def _url_of(settings: LocalSettings, service: str) -> str:
    return f"http://127.0.0.1:{settings.port_of(service)}"


async def _admin_token(settings: LocalSettings, system: RunningSystem) -> str:
    credentials = {"email": ADMIN_EMAIL, "password": system.admin_password}
    async with httpx2.AsyncClient(base_url=_url_of(settings, "users")) as client:
        response = await client.post("/v1/sessions", json=credentials)
    return str(response.raise_for_status().json()["access_token"])


async def _skus(settings: LocalSettings) -> list[str]:
    async with httpx2.AsyncClient(base_url=_url_of(settings, "orders")) as client:
        products: list[dict[str, Any]] = (await client.get("/v1/products?limit=100")).raise_for_status().json()["items"]
    return [product["sku"] for product in products if product["available"] > 0]


if __name__ == "__main__":
    chosen = arguments()
    try:
        has_passed = asyncio.run(
            fuzz(
                chosen.service or SERVICES,
                cases=chosen.cases,
                seed=random.randrange(2**32) if chosen.seed is None else chosen.seed,  # noqa: S311 - no secret
            )
        )
    except LocalError as error:
        sys.exit(str(error))
    sys.exit(0 if has_passed else 1)
