"""The parts of an order's journey that other services know, asked over HTTP with the caller's own access token."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import httpx2
import structlog

from shared.error_descriptions import describe_error
from shared.http.service_client import ServiceClient
from shared.operations.journey_schemas import JourneyPart
from shared.operations.journeys import Subject

logger = structlog.get_logger(__name__)

PART_TIMEOUT_SECONDS = 4.0
"""Time for a service's answer. It may spend two seconds to ask Kafka, and the console waits five seconds in all."""


class Unavailable(NamedTuple):
    """A service that did not return its part, and the reason."""

    service: str
    reason: str


class OtherServices:
    """Asks the other services for what they know of an order."""

    def __init__(self, clients: Mapping[str, ServiceClient | None]) -> None:
        """Take the clients by service: None for a service whose URL is not set."""
        self._clients = clients

    async def parts(self, subject: Subject, *, authorization: str) -> dict[str, JourneyPart | Unavailable]:
        """Return the part of each service. One that does not answer in time does not hold up the others."""
        return dict(
            zip(
                self._clients,
                await asyncio.gather(*(self._part(name, subject, authorization) for name in self._clients)),
                strict=True,
            )
        )

    async def order_of_event(self, event_id: UUID, *, authorization: str) -> UUID | None:
        """Return the order that an event of another service is about; None if no service knows."""
        for service, client in self._clients.items():
            if client is None:
                continue
            try:
                event = await client.get(
                    f"/v1/operations/{service}/events/{event_id}", headers={"Authorization": authorization}
                )
            except (httpx2.HTTPError, ValueError):
                continue
            if (order_id := order_of(event.get("topic"), event.get("key"), event.get("data"))) is not None:
                return order_id
        return None

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            if client is not None:
                await client.close()

    async def _part(self, service: str, subject: Subject, authorization: str) -> JourneyPart | Unavailable:
        client = self._clients[service]
        if client is None:
            return Unavailable(service, "its URL is not set")
        path = f"/v1/operations/{service}/journeys/orders/{subject.order_id}"
        try:
            found = await client.get(path, {"user_id": str(subject.user_id)}, headers={"Authorization": authorization})
            return JourneyPart.model_validate(found)
        except (httpx2.HTTPError, ValueError) as error:
            logger.warning("journey_part_unavailable", part_of=service, error=describe_error(error))
            return Unavailable(service, _reason(error))


def order_of(topic: str | None, key: str | None, data: Mapping[str, Any] | None) -> UUID | None:
    """Return the order that an event is about: the key of the topic orders, or the order that its data name."""
    try:
        if data is not None and isinstance(data.get("order_id"), str):
            return UUID(data["order_id"])
        return UUID(key) if topic == "orders" and key is not None else None
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.HTTPStatusError):
        return f"answered {error.response.status_code}"
    if isinstance(error, httpx2.TimeoutException):
        return "timed out"
    if isinstance(error, ValueError):
        return "gave an answer that cannot be read"
    return "unreachable"
