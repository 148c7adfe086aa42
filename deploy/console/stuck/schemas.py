"""Request and response bodies of the page *Stuck* and its API."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.http.bodies import RequestBody, ResponseBody


class StuckView(ResponseBody):
    """Orders, deliveries and jobs that do not proceed, as the services' own routes return them."""

    orders: list[dict[str, Any]]
    """Items of `GET /v1/operations/orders/stuck`."""
    deliveries: list[dict[str, Any]]
    """Items of `GET /v1/operations/notifications/deliveries`: failed, retrying and deferred ones."""
    jobs: list[dict[str, Any]]
    """Items of `GET /v1/operations/<service>/jobs`, with `service`: held and overdue ones."""
    schedules: list[dict[str, Any]]
    """Overdue items of `GET /v1/operations/<service>/schedules`, with `service`."""
    unavailable: dict[str, str]
    """Services that do not answer, with the reason: what is stuck there is not known."""


class JobAction(RequestBody):
    """An action on held jobs of a service."""

    action: Literal["retry", "discard"]
    ids: Annotated[tuple[int, ...], Field(min_length=1, max_length=100)]
    note: Annotated[str, Field(min_length=1, max_length=500, description="The reason, for the record.")]


class DeliveryResend(RequestBody):
    """A delivery to send again."""

    delivery_id: Annotated[str, Field(max_length=36)]
    note: Annotated[str, Field(min_length=1, max_length=500, description="The reason, for the record.")]
