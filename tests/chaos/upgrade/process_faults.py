"""The faults of a campaign: processes of either version are killed while the versions change."""

import os
import signal
from contextlib import suppress

from tests.chaos.injector import Injector, named
from tests.chaos.upgrade.instances import Instances

MEAN_INTERVAL_SECONDS = 8.0
"""Mean time between two faults. Many more, and hardly any process would live long enough to do work."""


async def kill_instance(on: Injector[Instances]) -> None:
    """Kill a process of either version; the supervisor restarts it."""
    instance = on.rng.choice(on.target.serving())
    on.effects[f"killed {instance.version} {instance.service}"] += 1
    with suppress(ProcessLookupError):
        os.kill(on.target.pid_of(instance), signal.SIGKILL)


FAULTS = named((kill_instance,))
