"""Requests to the services, with the access token of the operator: the services decide what the operator may do."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx2

from deploy.console.settings import SERVICES
from shared.errors import Problem

REQUEST_TIMEOUT_SECONDS = 5.0
"""Upper bound of a request that only reads. A page with a service that hangs takes this long."""
CHANGE_TIMEOUT_SECONDS = 30.0
"""Upper bound of a request that changes something: a replay takes up to 20 seconds."""

_OF_EVERY_PROBLEM = frozenset({"type", "title", "status", "code", "detail", "instance", "request_id"})

T = TypeVar("T")


class ServiceUnreachable(Problem):
    """The service does not answer."""

    status = 502
    code = "service_unreachable"


@dataclass(frozen=True)
class Answer(Generic[T]):
    """The answer of one service: a value, or a plain reason why there is none."""

    service: str
    value: T | None = None
    error: str | None = None


class Services:
    """The services, reached over HTTP."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._client = httpx2.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS)

    async def get(self, service: str, path: str, *, token: str | None = None, **params: Any) -> Any:
        """Return the JSON of a GET. Parameters that are None are left out. Raises: Problem."""
        return await self._send("GET", service, path, token=token, params=params)

    async def post(self, service: str, path: str, body: Mapping[str, Any], *, token: str | None = None) -> Any:
        """Return the JSON of a POST. Raises: Problem, with the status and code of the service."""
        return await self._send("POST", service, path, token=token, json=body, timeout=CHANGE_TIMEOUT_SECONDS)

    async def _send(
        self,
        method: str,
        service: str,
        path: str,
        *,
        token: str | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Send a request and return the JSON of its response, None if it has none. Raises: Problem."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = await self._client.request(
                method, f"{self._urls[service]}{path}", params=given, headers=headers, **options
            )
        except httpx2.TransportError as error:
            raise ServiceUnreachable(f"The {service} service does not answer ({type(error).__name__}).") from error
        if response.is_success:
            return response.json() if response.content else None
        raise _problem_of(response, service)

    async def each(self, ask: Callable[[str], Awaitable[T]], *, among: Collection[str] = SERVICES) -> list[Answer[T]]:
        """Ask services at once, and return an answer for each. One that is down does not hide the others."""

        async def answer(service: str) -> Answer[T]:
            try:
                return Answer(service, value=await ask(service))
            except Problem as problem:
                return Answer(service, error=problem.detail or problem.title)

        return list(await asyncio.gather(*map(answer, among)))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _problem_of(response: httpx2.Response, service: str) -> Problem:
    """Return the service's problem as one of the console's own, with the same status and code."""
    try:
        content = response.json()
    except ValueError:
        content = {}
    members = {
        "status": response.status_code,
        "code": content.get("code", "service_failed"),
        "title": content.get("title", f"The {service} service answered with status {response.status_code}"),
    }
    problem: type[Problem] = type("ServiceProblem", (Problem,), members)
    headers = {name: value for name, value in response.headers.items() if name == "retry-after"}
    extra = {name: value for name, value in content.items() if name not in _OF_EVERY_PROBLEM}
    return problem(content.get("detail"), extra={"service": service, **extra}, headers=headers)
