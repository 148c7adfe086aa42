"""The action that helps, for each cause for which an order is stuck."""

from uuid import UUID

from shared.operations.advice import MAIL, STUCK_ORDERS, Advice


def relay_away(service: str) -> Advice:
    """Return what helps if no relay sends a service's events."""
    return Advice(
        text=f"Start the process of {service} that runs the relay; what waits is sent by itself, in order.",
        command=f"python -m services.{service} outbox status",
        route=f"GET /v1/operations/{service}/outbox",
        runbook=f"{STUCK_ORDERS}#events-wait-in-an-outbox",
    )


def kafka_away(service: str) -> Advice:
    """Return what helps if Kafka does not answer."""
    return Advice(
        text="Bring Kafka back; what waits is sent by itself, in order.",
        command=f"python -m services.{service} outbox status",
        route=f"GET /v1/operations/{service}/outbox",
        runbook=f"{STUCK_ORDERS}#events-wait-in-an-outbox",
    )


def consumer_stopped(service: str) -> Advice:
    """Return what helps if a service does not apply events that are in Kafka."""
    return Advice(
        text=f"Look at `consumers` in the health of {service}, and start or restart the process that consumes.",
        command=None,
        route="GET /health",
        runbook=f"{STUCK_ORDERS}#a-consumer-does-not-apply-events",
    )


def service_unavailable(service: str) -> Advice:
    """Return what helps if a service does not answer."""
    return Advice(
        text=f"Look whether {service} runs and is ready; what it missed it applies by itself.",
        command=None,
        route="GET /health/ready",
        runbook=f"{STUCK_ORDERS}#a-service-does-not-answer",
    )


def resend_mail(delivery_id: UUID) -> Advice:
    """Return what helps if a mail was not sent."""
    return Advice(
        text="Correct what the error names (the mail server, or the customer's address), then resend the mail.",
        command=f'python -m services.notifications deliveries resend --id {delivery_id} --note "..."',
        route="POST /v1/operations/notifications/deliveries/resends",
        runbook=MAIL,
    )


def cancel_overdue(order_id: UUID) -> Advice:
    """Return what helps if an overdue order was not cancelled."""
    return Advice(
        text="Correct the data that the error names, then cancel the order; or look at the schedules of orders.",
        command=f'python -m services.orders cancel-overdue {order_id} --note "..."',
        route=f"POST /v1/orders/{order_id}/cancel",
        runbook=f"{STUCK_ORDERS}#an-order-is-overdue",
    )


def raise_limit(user_id: UUID) -> Advice:
    """Return what helps if the customer's credit does not suffice."""
    return Advice(
        text="If it is right, raise the customer's limit, and let the customer order again.",
        command=None,
        route=f"PUT /v1/users/{user_id}/credit-limit",
        runbook=f"{STUCK_ORDERS}#credit-was-refused",
    )


def look_at(order_id: UUID) -> Advice:
    """Return where to look if the cause is unknown."""
    return Advice(
        text="Let orders publish the order's state again: users then replies about its credit.",
        command=f"python -m services.orders republish --type orders --key {order_id}",
        route="POST /v1/operations/orders/republications",
        runbook=f"{STUCK_ORDERS}#the-cause-is-unknown",
    )
