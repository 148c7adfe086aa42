"""The client of what the users service offers to other services: its public keys, and its internal routes.

An internal route requires a token that only the calling service has, and the gateway does not route it.
"""

import ssl
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from joserfc.jwk import KeySet
from opentelemetry.trace import SpanKind

from shared.http.revocations import Revocations
from shared.telemetry import fail, span, trace_headers

REQUEST_TIMEOUT_SECONDS = 2.0


class UsersClient:
    """Asks the users service. `url` may name several of its processes, separated by commas: they are tried in turn."""

    def __init__(self, url: str, *, token: str, ca_file: Path | None = None) -> None:
        """Prepare the client. `ca_file`: certificates of the CAs that may sign the server's; default: the system's."""
        self._urls = [each.strip().rstrip("/") for each in url.split(",")]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._client: httpx2.AsyncClient | None = None

    async def key_set(self) -> KeySet:
        """Return the public keys that verify access tokens. Raises: httpx2.HTTPError, ValueError, JoseError."""
        return KeySet.import_key_set(await self.get("/.well-known/jwks.json"))

    async def personal_keys(self, user_ids: Collection[UUID]) -> dict[UUID, bytes]:
        """Return the keys of users' personal data. Unknown and erased users have none.

        Raises: httpx2.HTTPError, ValueError.
        """
        found = await self.post("/internal/personal-keys", {"user_ids": [str(user_id) for user_id in user_ids]})
        return {UUID(user_id): urlsafe_b64decode(key) for user_id, key in found["keys"].items()}

    async def revocations(self, since: datetime | None) -> Revocations:
        """Return the sessions that were revoked since a time. Raises: httpx2.HTTPError, ValueError, KeyError."""
        params = {} if since is None else {"since": since.isoformat()}
        found = await self.get("/internal/revoked-sessions", **params)
        return Revocations(
            as_of=datetime.fromisoformat(found["as_of"]),
            sessions={UUID(each["id"]): datetime.fromisoformat(each["expires_at"]) for each in found["sessions"]},
            withdrawn_keys=frozenset(found["withdrawn_keys"]),
        )

    async def get(self, path: str, **params: str) -> Any:
        """Return the JSON of a response. Raises: httpx2.HTTPError, ValueError."""
        return await self._send("GET", path, params=params)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request that changes nothing, and return the JSON of its response.

        Raises: httpx2.HTTPError, ValueError.
        """
        return await self._send("POST", path, json=body)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _send(self, method: str, path: str, **request: Any) -> Any:
        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS, verify=self._tls, headers=self._headers)
        for position, url in enumerate(self._urls, start=1):
            try:
                with span(f"{method} {path}", kind=SpanKind.CLIENT, attributes={"http.request.method": method}) as call:
                    response = await self._client.request(method, url + path, headers=trace_headers(), **request)
                    call.set_attribute("http.response.status_code", response.status_code)
                    if response.is_error:
                        fail(call, str(response.status_code))
            except httpx2.TransportError:
                if position == len(self._urls):
                    raise
            else:
                return response.raise_for_status().json()
        raise AssertionError("unreachable: there is at least one URL")
