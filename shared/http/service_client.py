"""A client of another service: JSON over pooled connections, with a time-out, to whichever of its processes answers."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from opentelemetry.trace import SpanKind

from shared.telemetry import fail, span, trace_headers

REQUEST_TIMEOUT_SECONDS = 2.0


class ServiceClient:
    """Asks a service. `url` may name several of its processes, separated by commas: they are tried in turn."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> None:
        """Prepare the client. `ca_file`: certificates of the CAs that may sign the server's; default: the system's.

        `headers` are sent with every request.
        """
        self._urls = [each.strip().rstrip("/") for each in url.split(",")]
        self._headers = dict(headers or {})
        self._timeout_seconds = timeout_seconds
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._client: httpx2.AsyncClient | None = None

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return the JSON of a response. Raises: httpx2.HTTPError, ValueError."""
        return await self._send("GET", path, params=params, headers=headers)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request that changes nothing, and return the JSON of its response.

        Raises: httpx2.HTTPError, ValueError.
        """
        return await self._send("POST", path, json=body)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any) -> Any:
        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=self._timeout_seconds, verify=self._tls, headers=self._headers)
        for position, url in enumerate(self._urls, start=1):
            try:
                with span(f"{method} {path}", kind=SpanKind.CLIENT, attributes={"http.request.method": method}) as call:
                    given = {**(headers or {}), **trace_headers()}
                    response = await self._client.request(method, url + path, headers=given, **request)
                    call.set_attribute("http.response.status_code", response.status_code)
                    if response.is_error:
                        fail(call, str(response.status_code))
            except httpx2.TransportError:
                if position == len(self._urls):
                    raise
            else:
                return response.raise_for_status().json()
        raise AssertionError("unreachable: there is at least one URL")
