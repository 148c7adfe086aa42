"""Changes of the page *Stuck*: jobs are tried again or given up, deliveries are sent again."""

from typing import Any

from deploy.console.access.operator import Operator
from deploy.console.services import Services
from deploy.console.stuck.schemas import DeliveryResend, JobAction


async def act_on_jobs(services: Services, operator: Operator, service: str, action: JobAction) -> int:
    """Retry or discard held jobs; return their number. Raises: Problem."""
    route = "retries" if action.action == "retry" else "discards"
    body = {"ids": list(action.ids), "note": action.note}
    path = f"/v1/operations/{service}/jobs/{route}"
    found = await services.post(service, path, body, token=operator.token)
    return int(found["jobs"])


async def resend_delivery(services: Services, operator: Operator, resend: DeliveryResend) -> dict[str, Any]:
    """Send a delivery again. Raises: Problem."""
    body = {"ids": [resend.delivery_id], "note": resend.note}
    path = "/v1/operations/notifications/deliveries/resends"
    found: dict[str, Any] = await services.post("notifications", path, body, token=operator.token)
    return found
