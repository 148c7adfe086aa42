"""What the orders service is told by its environment: ORDERS_*."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read once at the start; frozen."""

    model_config = SettingsConfigDict(env_prefix="ORDERS_")

    http_port: Annotated[int, Field(ge=0, le=65535)] = 8002
    jwks_url: str
    order_deadline_seconds: Annotated[int, Field(ge=1, le=86_400)] = 120
    """An order that is pending for longer is cancelled."""
    max_items_per_order: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    """At most 1,000: the longest names of so many lines just fit into one event."""
    product_cache_seconds: Annotated[int, Field(ge=1, le=3_600)] = 30

    @property
    def order_deadline(self) -> timedelta:
        return timedelta(seconds=self.order_deadline_seconds)

    @property
    def product_cache_ttl(self) -> timedelta:
        return timedelta(seconds=self.product_cache_seconds)
