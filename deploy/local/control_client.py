"""A client of the local system's control socket."""

import asyncio
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from deploy.local.control_protocol import (
    ComparisonStatus,
    ControlError,
    FaultDescription,
    FaultReport,
    ProcessStatus,
    SystemStatus,
    WrongBuild,
)

MAX_ANSWER_BYTES = 4 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 120.0
"""Upper bound of a request: a service may need 20 s to stop, and Kafka 60 s to start."""

T = TypeVar("T")


class ControlClient:
    """Sends each request over a connection of its own, so that a slow one delays no other.

    Every method raises ControlError. Its code is `unreachable` if no system listens.
    """

    def __init__(self, socket: Path, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._socket = socket
        self._timeout_seconds = timeout_seconds

    async def status(self) -> SystemStatus:
        """Return the state of every process."""
        return await self._request(SystemStatus, action="status")

    async def start(self, process: str) -> ProcessStatus:
        """Start a process that was stopped, and wait until it is ready."""
        return await self._request(ProcessStatus, action="start", process=process)

    async def stop(self, process: str, *, force: bool = False) -> ProcessStatus:
        """Stop a process; with `force` even while running processes need it."""
        return await self._request(ProcessStatus, action="stop", process=process, force=force)

    async def restart(self, process: str) -> ProcessStatus:
        """Stop a process, start it as it was at first, and wait until it is ready."""
        return await self._request(ProcessStatus, action="restart", process=process)

    async def kill(self, process: str) -> ProcessStatus:
        """Kill a process. The supervisor restarts it."""
        return await self._request(ProcessStatus, action="kill", process=process)

    async def suspend(self, process: str, *, seconds: float = 30) -> ProcessStatus:
        """Suspend a process and its children. They continue after `seconds`, or at `resume`."""
        return await self._request(ProcessStatus, action="suspend", process=process, seconds=seconds)

    async def resume(self, process: str) -> ProcessStatus:
        """Let a suspended process continue."""
        return await self._request(ProcessStatus, action="resume", process=process)

    async def faults(self) -> list[FaultDescription]:
        """Return the faults that can be injected."""
        return await self._request(list[FaultDescription], action="faults")

    async def fault(self, fault: str, **parameters: Any) -> FaultReport:
        """Inject a fault."""
        return await self._request(FaultReport, action="fault", fault=fault, parameters=parameters)

    async def start_comparison(self, build: WrongBuild, **options: Any) -> ComparisonStatus:
        """Begin to start a wrong build beside the right one. `comparison` tells how far it is."""
        return await self._request(ComparisonStatus, action="start_comparison", build=build.value, **options)

    async def comparison(self) -> ComparisonStatus:
        """Return how the comparison stands, or how the last one ended."""
        return await self._request(ComparisonStatus, action="comparison")

    async def stop_comparison(self) -> ComparisonStatus:
        """Stop the wrong build and drop its data."""
        return await self._request(ComparisonStatus, action="stop_comparison")

    async def send(self, **request: Any) -> Any:
        """Send a request as it is, and return the result's JSON."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._exchange(json.dumps(request).encode() + b"\n")
        except TimeoutError:
            raise ControlError("timeout", f"The system gave no answer within {self._timeout_seconds:g} s.") from None
        except OSError:
            raise ControlError("unreachable", "The system is not running. `make run` starts it.") from None
        if not answer["ok"]:
            raise ControlError(answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    async def _exchange(self, line: bytes) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=MAX_ANSWER_BYTES)
        try:
            writer.write(line)
            answer = await reader.readline()
        finally:
            writer.close()
        if not answer:
            raise ControlError("unreachable", "The system has closed the connection: it is stopping.")
        document: dict[str, Any] = json.loads(answer)
        return document

    async def _request(self, kind: type[T], **request: Any) -> T:
        return TypeAdapter(kind).validate_python(await self.send(**request))
