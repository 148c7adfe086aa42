"""All of `make run` for a benchmark: on free ports, on the given Kafka, with a past in its databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count

from rich.console import Console

from deploy.demo.system import RunningSystem
from deploy.local.credentials import SERVICES, ensure_credentials
from deploy.local.ports import free_port
from deploy.local.screen import Screen
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.state import read_state, single_instance
from deploy.local.system import System
from tests.bench.service_rows import fill_service_tables
from tests.bench.setting import Setting
from tests.harness.table_rows import fill_messaging_tables

RATE_LIMIT = "100000/minute"
TOKEN_MINUTES = "60"
"""Customers sign in once, and the other system may take ten minutes to fill before they are heard of again."""
GATEWAY_REQUESTS_PER_SECOND = 10_000
"""All that is sent comes from one address, and from few people."""

_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class FilledServices(Services):
    """Their databases have a past before they start; their topics are their own."""

    rows: int
    topic_prefix: str

    async def set_up(self) -> None:
        """As it is, then the rows."""
        await super().set_up()
        if self.rows:
            await asyncio.gather(*map(self._fill, SERVICES))

    async def _fill(self, service: str) -> None:
        url = self.database_url(service)
        await fill_messaging_tables(url, rows=self.rows)
        await fill_service_tables(service, url, rows=self.rows)

    def environment(self, service: str) -> dict[str, str]:
        """As it is, but for limits that a benchmark would meet, a token's life among them, and the topics."""
        changed = {"RATE_LIMIT": RATE_LIMIT, "KAFKA_TOPIC_PREFIX": self.topic_prefix}
        if service == "users":
            changed["ACCESS_TOKEN_MINUTES"] = TOKEN_MINUTES
        return super().environment(service) | {f"{service.upper()}_{name}": value for name, value in changed.items()}


@asynccontextmanager
async def filled_system(setting: Setting) -> AsyncIterator[RunningSystem]:
    """Start it, with `setting.rows` rows in every table; stop it in the end."""
    number = next(_numbers)
    folder = setting.ground.folder / f"system-{number}"
    ports = {name: free_port() for name in LocalSettings.model_fields if name.endswith("_port")}
    settings = LocalSettings.model_validate(
        {
            "folder": folder,
            "KAFKA_BOOTSTRAP_SERVERS": setting.ground.kafka,
            "gateway_requests_per_second": GATEWAY_REQUESTS_PER_SECOND,
            **ports,
        }
    )
    with ExitStack() as stack:
        stack.enter_context(single_instance(folder))
        screen = Screen(Console(file=stack.enter_context((folder / "screen.log").open("w")), highlight=False))
        credentials = ensure_credentials(folder / "secrets")
        system = System(settings, credentials=credentials, screen=screen)
        system._services = FilledServices(
            settings=settings,
            credentials=credentials,
            kafka_bootstrap_servers=setting.ground.kafka,
            rows=setting.rows,
            topic_prefix=f"bench-saga-{number}.",
        )
        try:
            await system.start()
            yield RunningSystem.from_state(folder, read_state(folder) or {})
        finally:
            await system.stop()
