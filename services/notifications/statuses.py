"""The channels of notifications, and the statuses of their deliveries."""

from typing import Literal

Channel = Literal["email", "in_app"]
DeliveryStatus = Literal["queued", "sending", "sent", "retrying", "deferred", "failed"]
