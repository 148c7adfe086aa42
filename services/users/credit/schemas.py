"""Request and response bodies of credit."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from services.users.models.credit import CreditEntryKind
from shared.amounts import MAX_AMOUNT_CENTS
from shared.http.bodies import RequestBody, ResponseBody


class CreditLimit(RequestBody):
    """The upper bound of a user's reserved and used credit together."""

    limit_cents: Annotated[int, Field(ge=0, le=MAX_AMOUNT_CENTS, examples=[100_000])]


class CreditView(ResponseBody):
    """A user's credit: reserved by open orders, used by shipped orders, and available."""

    limit_cents: Annotated[int, Field(examples=[100_000])]
    reserved_cents: Annotated[int, Field(examples=[12_000])]
    used_cents: Annotated[int, Field(examples=[8_000])]
    available_cents: Annotated[int, Field(examples=[80_000])]
    currency: Annotated[str, Field(examples=["GBP"])]


class CreditEntryView(ResponseBody):
    """An entry of the ledger: one change of a credit account, and the balances after it."""

    id: Annotated[int, Field(description="Ascends with the changes of one account.", examples=[4711])]
    kind: Annotated[
        CreditEntryKind,
        Field(
            description="`reserved`, `released`, `used` and `refunded` are changes by an order. `corrected`: the credit"
            " was made to agree with the order's state, or with all orders if `order_id` is null.",
            examples=["reserved"],
        ),
    ]
    order_id: Annotated[
        UUID | None,
        Field(description="The order that caused the change.", examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"]),
    ]
    reserved_delta_cents: Annotated[int, Field(examples=[12_000])]
    used_delta_cents: Annotated[int, Field(examples=[0])]
    limit_delta_cents: Annotated[int, Field(examples=[0])]
    reserved_cents: Annotated[int, Field(description="Reserved credit after the change.", examples=[12_000])]
    used_cents: Annotated[int, Field(description="Used credit after the change.", examples=[8_000])]
    limit_cents: Annotated[int, Field(description="The limit after the change.", examples=[100_000])]
    created_at: datetime


class StaffCreditEntryView(CreditEntryView):
    """An entry of the ledger, with who made a change by hand and why."""

    actor: Annotated[
        str | None,
        Field(
            description="The id of the admin, or the operator of a command; null if an order's event made the change.",
            examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c12"],
        ),
    ]
    reason: Annotated[str | None, Field(description="The operator's note.", examples=["the order is unknown"])]
