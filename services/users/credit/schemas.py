"""Request and response bodies of credit."""

from typing import Annotated

from pydantic import Field

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
