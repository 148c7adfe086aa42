"""The client of what the users service offers to other services: its public keys, and its internal routes.

An internal route requires a token that only the calling service has, and the gateway does not route it.
"""

from base64 import urlsafe_b64decode
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from uuid import UUID

from joserfc.jwk import KeySet

from shared.http.revocations import Revocations
from shared.http.service_client import ServiceClient


class UsersClient(ServiceClient):
    """Asks the users service."""

    def __init__(self, url: str, *, token: str, ca_file: Path | None = None) -> None:
        """Prepare the client. `token` is the calling service's."""
        super().__init__(url, ca_file=ca_file, headers={"Authorization": f"Bearer {token}"})

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
        found = await self.get("/internal/revoked-sessions", params)
        return Revocations(
            as_of=datetime.fromisoformat(found["as_of"]),
            sessions={UUID(each["id"]): datetime.fromisoformat(each["expires_at"]) for each in found["sessions"]},
            withdrawn_keys=frozenset(found["withdrawn_keys"]),
        )
