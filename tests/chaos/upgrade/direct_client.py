"""A client that asks the instances themselves, without the gateway, so that it knows which version has answered."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from deploy.demo.client import Answer, Client, RequestFailed
from tests.chaos.upgrade.instances import Instance, Instances

TRY_SECONDS = 4.0
"""Time to repeat a request at one instance, before another one is asked: the first may have been stopped."""
REQUEST_TIMEOUT_SECONDS = 60.0
REPEAT_DELAY_SECONDS = 0.2
MAX_BUGS_PER_REQUEST = 20
"""Tries until a request that gets 500 fails."""


class StrictClient(Client):
    """Notes every 500: it is a bug of ours, which no retry and no injected fault explains. Then it repeats the request.

    A repeated request shows whether the load can go on, so that one bug does not hide the others.
    """

    def __init__(self, http: httpx2.AsyncClient, *, timeout_seconds: float, bugs: list[str]) -> None:
        super().__init__(http, timeout_seconds=timeout_seconds)
        self._bugs = bugs

    async def send(self, method: str, path: str, **request: Any) -> Answer:
        """Return the final answer. Raises: RequestFailed."""
        for _ in range(MAX_BUGS_PER_REQUEST):
            answer = await super().send(method, path, **request)
            if answer.status != 500:
                return answer
            self._bugs.append(f"{method} {path}: got 500 {answer.code}")
            await asyncio.sleep(REPEAT_DELAY_SECONDS)
        raise RequestFailed(f"{method} {path} got 500 {MAX_BUGS_PER_REQUEST} times in a row")


@dataclass
class DirectClient:
    """Sends requests to serving instances that `rng` chooses."""

    instances: Instances
    rng: random.Random
    bugs: list[str] = field(default_factory=list)
    """A sentence for each 500."""

    async def send(self, service: str, method: str, path: str, **request: Any) -> Answer:
        """Return the final answer of one instance; ask another one if it has none. Raises: RequestFailed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REQUEST_TIMEOUT_SECONDS
        while True:
            instance = self.rng.choice(self.instances.serving(service))
            try:
                return await self.send_to(instance, method, path, **request)
            except RequestFailed:
                if loop.time() > deadline:
                    raise

    async def send_to_each(self, service: str, method: str, path: str, **request: Any) -> list[tuple[Instance, Answer]]:
        """Return the answer of every serving instance of a service, but of those that have just been stopped."""
        loop = asyncio.get_running_loop()
        answers = []
        for instance in self.instances.serving(service):
            deadline = loop.time() + REQUEST_TIMEOUT_SECONDS
            # One that a fault has killed is restarted.
            while instance in self.instances.serving(service):
                try:
                    answers.append((instance, await self.send_to(instance, method, path, **request)))
                    break
                except RequestFailed:
                    if loop.time() > deadline:
                        raise
        return answers

    async def send_to(
        self, instance: Instance, method: str, path: str, *, if_match: int | None = None, **request: Any
    ) -> Answer:
        """Return the final answer of this instance. Raises: RequestFailed."""
        url = f"http://127.0.0.1:{instance.port}"
        headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
        found: list[str] = []
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=REQUEST_TIMEOUT_SECONDS) as http:
            client = StrictClient(http, timeout_seconds=self._seconds_for(instance), bugs=found)
            try:
                return await client.send(method, path, **request)
            finally:
                self.bugs += [f"{instance.name}: {bug}" for bug in found]

    def _seconds_for(self, instance: Instance) -> float:
        """Return how long to repeat a request: longer if only this instance serves, which may be restarting."""
        others: Sequence[Instance] = [each for each in self.instances.serving(instance.service) if each != instance]
        return TRY_SECONDS if others else REQUEST_TIMEOUT_SECONDS / 4
