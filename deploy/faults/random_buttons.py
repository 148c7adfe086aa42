"""Pressing the buttons of *Break it* at random while orders are placed, and an audit at the end."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from deploy.audit.databases import connected
from deploy.audit.findings import Finding, violated
from deploy.audit.invariants import check_once_settled
from deploy.faults.cleaning import Cleaner
from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import ControlError
from deploy.local.credentials import SERVICES
from deploy.local.lifecycle import State
from deploy.local.screen import Screen
from deploy.local.state import admin_password_of
from deploy.wrong_builds.build import Build, busiest_skus
from deploy.wrong_builds.load import OrderLoad, order_load
from shared.messaging.kafka import KafkaConnection

FAULTS: Mapping[str, int] = {
    "kill_leading_relay": 2,
    "kill_service": 3,
    "kill_broker": 2,
    "shut_down_postgres": 2,
    "terminate_backends": 2,
    "cut_after_commit": 2,
    "suspend_consumer": 2,
    "send_poison": 3,
    "stop_mail": 1,
    "kill_valkey": 1,
    "kill_gateway": 1,
}
"""The weight of each fault."""
MIN_DELAY_SECONDS, MAX_DELAY_SECONDS = 2.0, 10.0
MAX_LASTING = 2
"""Faults whose effects last at once. With more, a slow machine would do nothing but restart processes."""
READY_TIMEOUT_SECONDS = 180.0
SETTLE_TIMEOUT = timedelta(seconds=240)


@dataclass
class Result:
    """The counts of a run, and the invariants that are violated at its end."""

    seed: int
    accepted: int = 0
    failed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    discarded: int = 0
    replayed: int = 0
    restarts: int = 0
    violated: dict[str, Any] = field(default_factory=dict)
    checked: int = 0
    """The number of invariants that were checked."""

    def document(self) -> dict[str, Any]:
        """Return the values of JSON."""
        return {**self.__dict__, "faults": dict(self.faults), "green": not self.violated}


class RandomButtons:
    """Presses buttons of one running system. The same seed presses the same ones, at times that may differ."""

    def __init__(
        self, client: ControlClient, state: dict[str, Any], *, folder: Path, seed: int, screen: Screen
    ) -> None:
        self._client = client
        self._state = state
        self._screen = screen
        self._random = random.Random(seed)  # noqa: S311 - reproducible by its seed
        self._poison: set[str] = set()
        self._cut: set[str] = set()
        self._skus = busiest_skus(folder / "catalogue.jsonl")
        self._password = admin_password_of(state)
        self.result = Result(seed)

    async def run(self, *, minutes: float, orders_per_second: float) -> Result:
        """Inject faults under load, let everything recover, and audit. Raises: ControlError, RequestFailed."""
        urls = {service: self._state["urls"][service] for service in SERVICES}
        kafka = KafkaConnection(self._state["kafka_bootstrap_servers"])
        build = Build(name="right", urls=urls, database_urls=self._state["audit_databases"], kafka=kafka)
        async with order_load(build, skus=self._skus) as load:
            await load.sign_up(self._password)
            await self._press_under_load(load, minutes=minutes, orders_per_second=orders_per_second)
            self.result.accepted, self.result.failed = len(load.accepted), load.failed
        self._screen.note("No more faults and orders. Waiting until everything runs again.")
        await self._until_ready()
        for service in sorted(self._cut):
            await self._client.restart(service)
        async with Cleaner.of(urls, password=self._password) as cleaner:
            await cleaner.settle(poison=self._poison)
            findings = await self._audit()
            self.result.discarded, self.result.replayed = cleaner.discarded, cleaner.replayed
        self.result.violated, self.result.checked = violated(findings), len(findings)
        self.result.restarts = sum(each.restarts for each in (await self._client.status()).processes)
        return self.result

    async def _press_under_load(self, load: OrderLoad, *, minutes: float, orders_per_second: float) -> None:
        placing = asyncio.create_task(load.run(orders_per_second=orders_per_second))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + minutes * 60
        try:
            while loop.time() < deadline:
                await asyncio.sleep(self._random.uniform(MIN_DELAY_SECONDS, MAX_DELAY_SECONDS))
                await self._press()
                while await self._lasting() >= MAX_LASTING and loop.time() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(1)
        finally:
            placing.cancel()
            with suppress(asyncio.CancelledError):
                await placing

    async def _press(self) -> None:
        name = self._random.choices(list(FAULTS), weights=list(FAULTS.values()))[0]
        try:
            report = await self._client.fault(name, **self._parameters(name))
        except ControlError as error:
            self._screen.note(f"{name}: not now ({error.code})")
            return
        self.result.faults[name] += 1
        self._screen.note(report.did)
        self._poison |= set(report.details.get("keys", ()))
        if name == "cut_after_commit":
            self._cut.add(report.details["service"])

    def _parameters(self, name: str) -> dict[str, Any]:
        service = self._random.choice(SERVICES)
        if name == "send_poison":
            kind = self._random.choice(("undecodable", "foreign", "invalid", "blocked_key"))
            return {"topic": service, "kind": kind, "count": self._random.randint(1, 5)}
        if name == "suspend_consumer":
            return {"service": service, "seconds": self._random.uniform(2, 20)}
        if name == "stop_mail":
            return {"seconds": self._random.uniform(3, 20)}
        if name == "cut_after_commit":
            return {"service": service, "times": self._random.randint(1, 3)}
        return {"service": service} if name.endswith(("relay", "service", "postgres", "backends")) else {}

    async def _lasting(self) -> int:
        reports = (await self._client.status()).faults
        return sum(each.ended_at is None and each.fault not in {"send_poison", "cut_after_commit"} for each in reports)

    async def _until_ready(self) -> None:
        """Wait until every process runs. Raises: TimeoutError."""
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            while await self._not_ready():  # noqa: ASYNC110
                await asyncio.sleep(1)

    async def _not_ready(self) -> list[str]:
        processes = (await self._client.status()).processes
        return [each.name for each in processes if each.state is not State.READY]

    async def _audit(self) -> list[Finding]:
        async with connected(self._state["audit_databases"]) as databases:
            return await check_once_settled(databases, within=SETTLE_TIMEOUT)
