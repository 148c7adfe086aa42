"""The channels of notifications, and the statuses of their deliveries."""

from typing import Literal

Channel = Literal["email", "in_app"]
ADDRESS_UNVERIFIED = "address_unverified"
"""The error of a delivery that is deferred although its recipient is known."""
DeliveryStatus = Literal["queued", "sending", "sent", "retrying", "deferred", "failed"]
