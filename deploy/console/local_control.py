"""The control socket of `make run`, for the console. Elsewhere there is none, and requests that need it are refused."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import Depends, Request

from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import ControlError
from shared.errors import Conflict, Forbidden

logger = structlog.get_logger(__name__)

PAGE_WAIT_SECONDS = 1.5
"""Time for which a page waits for an action before it shows the state: a service takes seconds to stop or start."""

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()


class LocalOnly(Forbidden):
    """Only the console of `make run` can do this."""

    code = "local_only"


class ControlRefused(Conflict):
    """The local system has refused this, or failed to do it."""

    code = "control_refused"


async def answered(request: Coroutine[Any, Any, T]) -> T:
    """Wait for the answer to a request to the control socket. Raises: ControlRefused."""
    try:
        return await request
    except ControlError as error:
        raise ControlRefused(str(error), extra={"reason": error.code}) from error


async def begun(request: Coroutine[Any, Any, Any]) -> None:
    """Begin an action, and wait for a moment. Raises: ControlRefused, if it is refused by then."""
    task = asyncio.create_task(answered(request))
    _running.add(task)
    task.add_done_callback(_ended)
    done, _ = await asyncio.wait({task}, timeout=PAGE_WAIT_SECONDS)
    if done:
        task.result()


def _ended(task: "asyncio.Task[Any]") -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("control_action_failed", error=str(error))


async def _control(request: Request) -> ControlClient:
    control: ControlClient | None = request.app.state.control
    if control is None:
        raise LocalOnly
    return control


ControlDep = Annotated[ControlClient, Depends(_control)]
"""The control socket. Without one, the request is refused."""


async def _optional_control(request: Request) -> ControlClient | None:
    control: ControlClient | None = request.app.state.control
    return control


OptionalControlDep = Annotated[ControlClient | None, Depends(_optional_control)]
