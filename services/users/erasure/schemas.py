"""Request and response bodies of erasures."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from services.users.accounts.fields import Reason
from services.users.erasure.queries import ErasureStatus, Receipt
from shared.http.bodies import RequestBody, ResponseBody

_ID = "5f1c7c39-3f43-4b57-a6a1-7b1a0c1de2f4"
_USER_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
_TIME = "2026-11-23T17:30:00Z"


class ErasureRequest(RequestBody):
    """An admin's request to erase a user's account."""

    reason: Reason


class ServiceErasureView(ResponseBody):
    """The erasure in one of the other services."""

    service: Annotated[str, Field(examples=["orders"])]
    acknowledged_at: Annotated[
        datetime | None, Field(description="Time at which it said that it has erased the data.", examples=[_TIME])
    ]


class ReceiptView(ResponseBody):
    """The receipt of an erasure. It names nobody."""

    id: Annotated[UUID, Field(description="Random: whoever knows it can read the receipt.", examples=[_ID])]
    status: Annotated[
        ErasureStatus, Field(description="`completed` once the data are erased everywhere.", examples=["pending"])
    ]
    requested_at: Annotated[datetime, Field(examples=[_TIME])]
    completed_at: Annotated[datetime | None, Field(examples=[None])]
    services: list[ServiceErasureView]

    @classmethod
    def of(cls, receipt: Receipt) -> "ReceiptView":
        """Make a view of a receipt."""
        erasure = receipt.erasure
        return cls(
            id=erasure.id,
            status=receipt.status,
            requested_at=erasure.requested_at,
            completed_at=erasure.completed_at,
            services=_services(receipt),
        )


class ErasureView(ReceiptView):
    """An erasure, for admins."""

    user_id: Annotated[UUID, Field(examples=[_USER_ID])]
    requested_by: Annotated[
        str, Field(description="The user, an admin, or an operator who ran a command.", examples=[_USER_ID])
    ]
    waits_for: Annotated[
        list[str], Field(description="The services that have not acknowledged it.", examples=[["notifications"]])
    ]
    asked: Annotated[int, Field(description="Number of times that the services were asked.", examples=[1])]
    last_asked_at: Annotated[datetime, Field(examples=[_TIME])]
    age_seconds: Annotated[int, Field(description="Time from the request to the completion, or to now.", examples=[12])]

    @classmethod
    def of(cls, receipt: Receipt) -> "ErasureView":
        """Make a view of a receipt, with what nobody but admins may see."""
        erasure = receipt.erasure
        age = (erasure.completed_at or datetime.now(UTC)) - erasure.requested_at
        return cls(
            id=erasure.id,
            status=receipt.status,
            requested_at=erasure.requested_at,
            completed_at=erasure.completed_at,
            services=_services(receipt),
            user_id=erasure.user_id,
            requested_by=erasure.requested_by,
            waits_for=receipt.waits_for,
            asked=erasure.asked,
            last_asked_at=erasure.last_asked_at,
            age_seconds=max(0, int(age.total_seconds())),
        )


def _services(receipt: Receipt) -> list[ServiceErasureView]:
    return [ServiceErasureView(service=name, acknowledged_at=at) for name, at in receipt.acknowledged_at.items()]
