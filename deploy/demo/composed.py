"""The system of deploy/compose.yaml, as a container in its networks reaches it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.demo.target import Memory, ReceivedMail
from deploy.local.credentials import SERVICES
from deploy.local.postgres import server_of
from deploy.local.process import LocalError

PAGE_MAILS = 500
"""Mails that are fetched at once."""
MAX_MAILS = 1_000_000


class ComposedSystem(BaseSettings):
    """The settings DEMO_* of the container `demo`, which sees neither the memory nor the restarts of the others."""

    model_config = SettingsConfigDict(env_prefix="DEMO_", frozen=True)

    gateway_url: str
    mailpit_url: str
    secrets_folder: Path

    @property
    def databases(self) -> Mapping[str, str]:
        """The URL of each service's database, on its server's container, with the role of the service."""
        return {
            service: f"postgresql://{service}:{self._secret(f'{service}_database_password')}"
            f"@{server_of(service)}:5432/{service}"
            for service in SERVICES
        }

    @property
    def admin_password(self) -> str:
        """The password of the first admin."""
        return self._secret("admin_password")

    async def received_mails(self, *, run: str) -> Sequence[ReceivedMail]:
        """Return the mails to the addresses of one run, the oldest first. Mailpit lists the newest first."""
        found: list[ReceivedMail] = []
        async with httpx2.AsyncClient(base_url=self.mailpit_url, timeout=30) as http:
            for start in range(0, MAX_MAILS, PAGE_MAILS):
                response = await http.get("/api/v1/messages", params={"start": str(start), "limit": str(PAGE_MAILS)})
                page = response.raise_for_status().json()["messages"]
                found += [_mail_of(message) for message in page if _is_of_run(message, run)]
                if len(page) < PAGE_MAILS:
                    break
        return found[::-1]

    def kill(self, service: str) -> int:
        """Refuse: from a container, no other can be killed, and Docker does not restart one that it killed itself."""
        raise LocalError(f"The demo cannot kill {service} here. --kill needs the system of `make run`.")

    def restarts(self) -> Counter[str]:
        """Return nothing: a container does not see how often others were restarted."""
        return Counter()

    def memory(self) -> Memory | None:
        """Return None: a container does not see the memory of others."""
        return None

    def _secret(self, name: str) -> str:
        return (self.secrets_folder / name).read_text().strip()


def _is_of_run(message: Mapping[str, Any], run: str) -> bool:
    return any(f"+{run}@" in recipient["Address"] for recipient in message["To"])


def _mail_of(message: Mapping[str, Any]) -> ReceivedMail:
    """Read one mail of Mailpit's list. It leaves the brackets of the Message-ID out."""
    return ReceivedMail(f"<{message['MessageID']}>", datetime.fromisoformat(message["Created"]))
