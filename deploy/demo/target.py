"""The interface between the demo and the system that it uses, wherever that runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory in bytes. Pages that several processes share count once."""

    total: int
    services: int


@dataclass(frozen=True)
class ReceivedMail:
    """A mail that the mail server of the system received. The message id has its angle brackets."""

    message_id: str
    received_at: datetime


class Target(Protocol):
    """The addresses and secrets of a system, and what can be asked of the machine that runs it."""

    @property
    def gateway_url(self) -> str:
        """The URL of the whole API."""

    @property
    def databases(self) -> Mapping[str, str]:
        """The URL of each service's database."""

    @property
    def admin_password(self) -> str:
        """The password of the first admin."""

    async def received_mails(self, *, run: str) -> Sequence[ReceivedMail]:
        """Return the mails to the addresses of one run, the oldest first."""

    def kill(self, service: str) -> int:
        """Kill a service, as a crash would. Return the pid that it had. Raises: LocalError where that is impossible."""

    def restarts(self) -> Counter[str]:
        """Return how often each process was restarted since the system was started, where that is known."""

    def memory(self) -> Memory | None:
        """Return the memory that the system uses now, where that is known."""
