"""Injecting faults, and the log of those that were injected."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Any

from deploy.faults.catalogue import FAULTS
from deploy.faults.target import Injected, Target
from deploy.local.control_protocol import ControlError, FaultReport, check_parameters

MAX_REPORTS = 50
"""Faults that are kept."""
POLL_SECONDS = 0.5
MAX_WATCH_SECONDS = 1800
"""Time for which the end of a fault is looked for. A dead letter may wait for longer."""


class FaultLog:
    """Injects faults one after the other, and notices their ends."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._reports: deque[FaultReport] = deque(maxlen=MAX_REPORTS)
        self._count = 0
        self._injecting = asyncio.Lock()

    def reports(self) -> list[FaultReport]:
        """Return the last faults, the oldest first."""
        return list(self._reports)

    async def inject(self, name: str, parameters: dict[str, Any]) -> FaultReport:
        """Inject a fault. Raises: ControlError."""
        fault = FAULTS.get(name)
        if fault is None:
            raise ControlError("bad_request", f"There is no fault {name}. Known are: {', '.join(FAULTS)}.")
        checked = check_parameters(fault.parameters, parameters)
        async with self._injecting:
            injected = await fault.inject(self._target, checked)
        self._count += 1
        report = FaultReport(
            id=self._count,
            fault=name,
            did=injected.did,
            ends=fault.ends,
            details=injected.details,
            injected_at=datetime.now(UTC),
            ended_at=None,
        )
        self._reports.append(report)
        self._target.background.start(self._watch(report.id, injected))
        return report

    async def _watch(self, report_id: int, injected: Injected) -> None:
        async with asyncio.timeout(MAX_WATCH_SECONDS):
            while not await injected.has_ended():  # noqa: ASYNC110 - processes and databases send no events
                await asyncio.sleep(POLL_SECONDS)
        for position, report in enumerate(self._reports):
            if report.id == report_id:
                self._reports[position] = report.model_copy(update={"ended_at": datetime.now(UTC)})
