"""Dependencies of routes: who may call them, and what the application provides."""

from typing import Annotated

from fastapi import Depends, Request

from services.orders.queries import OrderNotFound, ProductNotFound
from services.orders.settings import Settings
from shared.errors import Forbidden
from shared.http.auth import (
    EVERYONE,
    NOBODY,
    SIGNED_IN,
    STAFF,
    OptionalAccess,
    Permit,
    Rule,
    by_owner,
    signed_in,
)
from shared.http.route_limits import RouteLimit

FOR_SALE, NOT_FOR_SALE = "for sale", "not for sale"
"""Kinds of products."""


class OwnOrder(Forbidden):
    """Staff can't do this with their own orders; ask a colleague."""

    code = "own_order"


PLACE_ORDERS = RouteLimit("place_orders", "120/minute")
"""Placing an order is the most costly request, and reserves stock."""
READ_ORDER = CANCEL_ORDER = by_owner(own=SIGNED_IN, others=STAFF, others_denial=OrderNotFound)
LIST_ORDERS = by_owner(own=SIGNED_IN, others=STAFF)
FULFIL_ORDER = by_owner(own=NOBODY, own_denial=OwnOrder, others=STAFF)
"""Shipping, delivering and refunding: staff must not serve themselves."""
LIST_PRODUCTS = OptionalAccess((Rule(FOR_SALE, EVERYONE), Rule(NOT_FOR_SALE, STAFF)))
READ_PRODUCT = OptionalAccess((Rule(FOR_SALE, EVERYONE), Rule(NOT_FOR_SALE, STAFF, ProductNotFound)))


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


PlacePermit = Annotated[Permit, Depends(signed_in)]
ReadPermit = Annotated[Permit, Depends(READ_ORDER)]
CancelPermit = Annotated[Permit, Depends(CANCEL_ORDER)]
ListPermit = Annotated[Permit, Depends(LIST_ORDERS)]
FulfilPermit = Annotated[Permit, Depends(FULFIL_ORDER)]
ListProductsPermit = Annotated[Permit, Depends(LIST_PRODUCTS)]
ReadProductPermit = Annotated[Permit, Depends(READ_PRODUCT)]
SettingsDep = Annotated[Settings, Depends(_settings)]
