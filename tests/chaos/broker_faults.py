"""The faults of brokers, for both kinds of campaign."""

import signal
from typing import Protocol, TypeVar

from tests.chaos.injector import Injector
from tests.chaos.servers import CampaignServers

SUSPENSION_SECONDS = (2.0, 12.0)
"""Less, and more, than the cluster waits for a broker's heartbeat."""


class HasServers(Protocol):
    """A campaign's target whose servers can be broken."""

    @property
    def servers(self) -> CampaignServers:
        """The servers that the target uses."""


T = TypeVar("T", bound=HasServers)


async def kill_broker(on: Injector[T]) -> None:
    """Kill one broker."""
    servers = on.target.servers.supervised
    broker = on.rng.choice(servers.brokers)
    on.note(broker)
    servers.processes.send_signal(broker, signal.SIGKILL)


async def suspend_broker(on: Injector[T]) -> None:
    """Suspend a broker for less, or for more, than the cluster waits for its heartbeat."""
    servers = on.target.servers.supervised
    broker = on.rng.choice(servers.brokers)
    on.note(broker)
    on.suspend(servers.processes.pid_of(broker), seconds=on.rng.choice(SUSPENSION_SECONDS))
