"""Settling the dead letters that faults have made, by the services' own admin routes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Set
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from deploy.demo.accounts import Account, signed_in_admin
from deploy.demo.client import Client, RequestFailed, open_client

NOTE = "Poison of *Break it*"
MAX_ROUNDS = 20
ROUND_SECONDS = 2.0
"""Delay between two looks at the dead letters: a consumer may still be reading the last poison."""
QUIET_ROUNDS = 3
"""Looks without a dead letter after which none is expected any more."""


class Cleaner:
    """Discards poison, and replays what is honest."""

    def __init__(self, admin: Account, clients: Mapping[str, Client]) -> None:
        self.discarded = 0
        self.replayed = 0
        self._admin = admin
        self._clients = clients

    @classmethod
    @asynccontextmanager
    async def of(cls, urls: Mapping[str, str], *, password: str) -> AsyncIterator["Cleaner"]:
        """Yield a cleaner that is signed in as the admin. Raises: RequestFailed."""
        async with AsyncExitStack() as stack:
            clients = {name: await stack.enter_async_context(open_client(url)) for name, url in urls.items()}
            yield cls(await signed_in_admin(clients["users"], password=password), clients)

    async def settle(self, *, poison: Set[str]) -> None:
        """Settle dead letters until there are none for a while. Raises: RequestFailed. `poison`: keys to discard."""
        quiet = 0
        for _ in range(MAX_ROUNDS):
            found = [await self._settle_at(service, poison) for service in self._clients]
            quiet = 0 if any(found) else quiet + 1
            if quiet == QUIET_ROUNDS:
                return
            await asyncio.sleep(ROUND_SECONDS)

    async def _settle_at(self, service: str, poison: Set[str]) -> int:
        """Settle a service's dead letters; return how many there were."""
        client, path = self._clients[service], f"/v1/operations/{service}/dead-letters"
        params = {"limit": "100"}
        answer = await self._send(client, "GET", path, params=params)
        waiting = answer["items"]
        ids = [each["id"] for each in waiting if each["key"] in poison]
        if ids:
            await self._send(client, "POST", f"{path}/discards", json={"ids": ids, "note": NOTE})
            self.discarded += len(ids)
        elif waiting:
            done = await self._send(client, "POST", f"{path}/replays", json={"all": True})
            self.replayed += done["applied"]
        return len(waiting)

    async def _send(self, client: Client, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = await client.send(method, path, token=self._admin.token, **request)
        if answer.code in {"token_expired", "step_up_required"}:
            await self._admin.sign_in(self._clients["users"])
            answer = await client.send(method, path, token=self._admin.token, **request)
        if not answer.is_success:
            raise RequestFailed(f"{method} {path}: {answer.status} {answer.code}")
        return answer.body
