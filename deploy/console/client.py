"""A client of the console's API, for its commands and for the MCP server."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

DEFAULT_URL = "http://127.0.0.1:8090"
PREFIX = "/api/v1"
TIMEOUT_SECONDS = 60.0
"""Upper bound of a request: a replay takes up to 20 seconds, a restart of a process longer."""


class ConsoleError(Exception):
    """The console refused a request, or does not answer. The message is for people."""


class ConsoleClient:
    """Asks a console. Every method raises ConsoleError."""

    def __init__(self, url: str, *, token: str | None = None) -> None:
        """Prepare the client. `token`: an admin's access token, which a console of `make run` does not need."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx2.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS)

    @classmethod
    def from_environment(cls) -> "ConsoleClient":
        """Return a client of the console at CONSOLE_URL, with the token of CONSOLE_TOKEN or CONSOLE_TOKEN_FILE."""
        file = os.environ.get("CONSOLE_TOKEN_FILE")
        token = Path(file).read_text(encoding="utf-8").strip() if file else os.environ.get("CONSOLE_TOKEN")
        return cls(os.environ.get("CONSOLE_URL", DEFAULT_URL), token=token)

    async def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of a GET of the API. Parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return await self._send("GET", path, params=given)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON of a POST of the API."""
        return await self._send("POST", path, json=body)

    async def download(self, path: str, file: Path) -> int:
        """Write what a GET of the API responds with to a new file, and return its size in bytes."""
        with _new_file(file) as target:
            async with self._connected(), self._client.stream("GET", f"{PREFIX}{path}") as response:
                if not response.is_success:
                    await response.aread()
                    raise _error_of(response)
                async for chunk in response.aiter_bytes():
                    target.write(chunk)
            return target.tell()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(self, method: str, path: str, **options: Any) -> Any:
        async with self._connected():
            response = await self._client.request(method, f"{PREFIX}{path}", **options)
        if not response.is_success:
            raise _error_of(response)
        return response.json()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise ConsoleError(f"The console at {self._client.base_url} does not answer: {error}") from error


@contextmanager
def _new_file(file: Path) -> Iterator[BinaryIO]:
    """Open a file that does not exist yet, and delete it if it cannot be completed. Raises: ConsoleError."""
    try:
        with file.open("xb") as target:
            try:
                yield target
            except BaseException:
                file.unlink()
                raise
    except OSError as error:
        raise ConsoleError(f"{file} cannot be written: {error.strerror}") from error


def _error_of(response: httpx2.Response) -> ConsoleError:
    """Return the error of a problem: its title, its detail, and the fields that are invalid."""
    try:
        problem = response.json()
    except ValueError:
        return ConsoleError(f"The console answered with status {response.status_code}")
    fields = (f"{error['pointer'].removeprefix('/')}: {error['message']}" for error in problem.get("errors") or ())
    return ConsoleError(": ".join(filter(None, (problem.get("title"), problem.get("detail"), *fields))))
