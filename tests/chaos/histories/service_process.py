"""One of the services as a forked process, as `python -m services.NAME` runs it, but perhaps with a mutant."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.chaos.forked_process import preload, set_up_process
from tests.chaos.histories.mutants import MUTANTS

preload(
    "services.orders.__main__", "services.orders.app", "services.users.__main__", "services.users.app", "shared.server"
)


@dataclass(frozen=True)
class ServicePlan:
    """The service to run, its settings, and the mutant to install."""

    service: str
    environment: Mapping[str, str]
    log: Path
    mutant: str | None = None


def main(plan: ServicePlan) -> None:
    """Serve until SIGTERM."""
    set_up_process(log=plan.log)
    os.environ.update(plan.environment)
    if plan.mutant is not None:
        MUTANTS[plan.mutant]()
    import_module(f"services.{plan.service}.__main__").cli([])
