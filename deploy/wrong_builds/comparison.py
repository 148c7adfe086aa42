"""The comparison: a wrong build beside the right one, with the same load, the same faults, and a counter of each."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import structlog

from deploy.faults.target import Target
from deploy.local.control_protocol import (
    BuildCounts,
    ComparisonStatus,
    ControlError,
    StartComparisonRequest,
)
from deploy.wrong_builds.shared_faults import SharedFaults

if TYPE_CHECKING:
    # These need libraries that nothing else in the supervisor's process needs: import them at the first comparison.
    from deploy.wrong_builds.build import WrongSystem
    from deploy.wrong_builds.contestant import Contestant

logger = structlog.get_logger(__name__)

MAX_COUNTING_SECONDS = 20.0
"""Time that the surveys get before the next fault comes anyway."""
INITIAL_DELAY_SECONDS = 4.0
"""Time from the first order to the first fault."""
Phase = Literal["starting", "running", "stopping", "stopped", "failed"]
NOTHING = BuildCounts(
    accepted=0, failed=0, decided=0, pending=0, lost=0, mails_missing=0, credit_leaked_cents=0, lost_orders=[]
)


class Comparison:
    """Starts and stops comparisons, one at a time, and remembers the last one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._current: _Run | None = None

    @property
    def build(self) -> str | None:
        """The wrong build that runs; None if none does."""
        current = self._current
        return current.request.build.value if current is not None and current.is_running else None

    def start(self, request: StartComparisonRequest) -> ComparisonStatus:
        """Begin to start a wrong build. Raises: ControlError."""
        if self.build is not None:
            raise ControlError("wrong_state", f"The wrong build {self.build} runs already. Stop it first.")
        self._current = _Run(self._target, request)
        return self._current.status()

    def status(self) -> ComparisonStatus:
        """Return how the comparison stands, or how the last one ended. Raises: ControlError."""
        if self._current is None:
            raise ControlError("wrong_state", "No comparison was started.")
        return self._current.status()

    async def stop(self) -> ComparisonStatus:
        """Stop the wrong build and drop its data. Raises: ControlError."""
        if self._current is None:
            raise ControlError("wrong_state", "No comparison was started.")
        await self._current.stop()
        return self._current.status()

    async def close(self) -> None:
        """Stop the comparison if one runs."""
        if self._current is not None:
            await self._current.stop()


class _Run:
    """One comparison, from its start until its data are dropped."""

    def __init__(self, target: Target, request: StartComparisonRequest) -> None:
        self.request = request
        self._target = target
        self._phase: Phase = "starting"
        self._error: str | None = None
        self._started_at = datetime.now(UTC)
        self._running_at: float | None = None
        self._ended_at: float | None = None
        seed = request.seed if request.seed is not None else random.SystemRandom().randrange(2**32)
        self._faults = SharedFaults(target, build=request.build, seed=seed)
        self._right: Contestant | None = None
        self._wrong: Contestant | None = None
        self._task = asyncio.create_task(self._run())

    @property
    def is_running(self) -> bool:
        """Return whether it has processes or data."""
        return not self._task.done()

    def status(self) -> ComparisonStatus:
        """Return how it stands."""
        loop = asyncio.get_running_loop()
        ended_at = self._ended_at or loop.time()
        return ComparisonStatus(
            build=self.request.build,
            phase=self._phase,
            error=self._error,
            started_at=self._started_at,
            running_seconds=0.0 if self._running_at is None else round(ended_at - self._running_at, 1),
            orders_per_second=self.request.orders_per_second,
            faults=self._faults.count,
            last_fault=self._faults.last,
            right=NOTHING if self._right is None else self._right.counts(),
            wrong=NOTHING if self._wrong is None else self._wrong.counts(),
        )

    async def stop(self) -> None:
        """End it, and wait until its data are dropped."""
        if self._phase in {"starting", "running"}:
            self._phase = "stopping"
            self._task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        from deploy.wrong_builds.build import WrongSystem  # noqa: PLC0415

        wrong = WrongSystem(target=self._target, build=self.request.build)
        try:
            await self._compare(wrong)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            logger.exception("comparison_failed")
            self._error = _described(error)
        self._ended_at = asyncio.get_running_loop().time()
        try:
            await wrong.stop()
        except Exception as error:
            logger.exception("wrong_build_not_dropped")
            self._error = self._error or f"The wrong build was not dropped: {_described(error)}"
        self._phase = "failed" if self._error else "stopped"

    async def _compare(self, wrong: "WrongSystem") -> None:
        from deploy.wrong_builds.build import right_build  # noqa: PLC0415
        from deploy.wrong_builds.contestant import Contestant  # noqa: PLC0415
        from deploy.wrong_builds.load import order_load  # noqa: PLC0415

        await wrong.start()
        password = self._target.credentials.admin_password_file.read_text().splitlines()[0]
        async with AsyncExitStack() as stack:
            contestants: list[Contestant] = []
            for build in (right_build(self._target), wrong.as_build()):
                load = await stack.enter_async_context(order_load(build, skus=wrong.skus))
                await load.sign_up(password)
                contestants.append(Contestant(build=build, load=load))
            self._right, self._wrong = contestants
            self._phase, self._running_at = "running", asyncio.get_running_loop().time()
            async with asyncio.TaskGroup() as group:
                for each in contestants:
                    group.create_task(each.load.run(orders_per_second=self.request.orders_per_second))
                    group.create_task(each.survey())
                if self.request.fault_every_seconds:
                    group.create_task(self._inject_faults(contestants, every_seconds=self.request.fault_every_seconds))

    async def _inject_faults(self, contestants: Sequence["Contestant"], *, every_seconds: float) -> None:
        await asyncio.sleep(min(INITIAL_DELAY_SECONDS, every_seconds))
        while True:
            await self._faults.inject()
            await asyncio.sleep(every_seconds)
            await self._until_counted(contestants)

    async def _until_counted(self, contestants: Sequence["Contestant"]) -> None:
        """Wait until the last fault is over and its losses are counted, which a slow machine needs time for."""
        while not self._faults.is_over:  # noqa: ASYNC110 - processes send no events
            await asyncio.sleep(1)
        # The first two surveys may have begun before.
        wanted = [each.surveys + 2 for each in contestants]
        deadline = asyncio.get_running_loop().time() + MAX_COUNTING_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if all(each.surveys >= count for each, count in zip(contestants, wanted, strict=True)):
                return
            await asyncio.sleep(0.5)


def _described(error: BaseException) -> str:
    """Return the first cause of a group of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
