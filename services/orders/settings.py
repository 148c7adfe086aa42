"""Settings of the orders service: the environment variables ORDERS_*."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import ReadableFile, ServiceSettings

MAX_UNITS = 100_000_000
"""Units of an order with the most items of the highest quantity."""


class Settings(ServiceSettings):
    """Settings of one process: read once at its start, frozen."""

    model_config = SettingsConfigDict(env_prefix="ORDERS_")

    http_port: Annotated[int, Field(ge=0, le=65535)] = 8002
    users_url: str
    """URL of the users service, for the keys of access tokens and of personal data, and for revoked sessions."""
    users_token: Annotated[str, Field(repr=False)]
    notifications_url: str | None = None
    """URL of the notifications service, for its part of an order's journey; several are separated by commas. Without
    it, that part is reported as unavailable."""
    notifications_ca_file: ReadableFile | None = None
    """Certificates of the CAs that may sign the one of `notifications_url`. Default: those of the system."""
    order_deadline_seconds: Annotated[int, Field(ge=1, le=86_400)] = 120
    """Seconds that an order may be pending before it is cancelled."""
    max_items_per_order: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    """Items of an order, at most `schemas.MAX_ITEMS`."""
    max_pending_orders: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Pending orders of one customer. They reserve stock before their credit is known."""
    max_pending_units: Annotated[int, Field(ge=1, le=MAX_UNITS)] = 100_000
    """Units that one customer's pending orders reserve together; no single order may have more."""
    product_cache_seconds: Annotated[int, Field(ge=1, le=3_600)] = 30
    """Lifetime of a cached product. Requests and imports that change it invalidate it; consumers and jobs do not."""

    @property
    def order_deadline(self) -> timedelta:
        return timedelta(seconds=self.order_deadline_seconds)

    @property
    def product_cache_ttl(self) -> timedelta:
        return timedelta(seconds=self.product_cache_seconds)
