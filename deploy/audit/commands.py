"""The commands that settle findings. docs/runbooks/audit.md explains each."""

from datetime import datetime

NOTE = '--note "..."'


def release_credit(order_id: str) -> str:
    """Release the credit of an order that the orders service does not know."""
    return f"python -m services.users credit release {order_id} {NOTE}"


def recompute_credit(user_id: str, *, raise_limit: bool = False) -> str:
    """Set a user's credit account to the sums of its reservations."""
    return f"python -m services.users credit recompute {user_id}{' --raise-limit' if raise_limit else ''} {NOTE}"


def recompute_stock(sku: str, *, raise_stock: bool = False) -> str:
    """Set a product's reserved units to the sum of its open orders."""
    return f"python -m services.orders stock recompute {sku}{' --raise-stock' if raise_stock else ''} {NOTE}"


def republish_order(order_id: str) -> str:
    """Publish an order's state: users makes its credit agree with it, and answers a pending order again."""
    return f"python -m services.orders republish --type orders --key {order_id}"


def republish_user(user_id: str) -> str:
    """Publish a user's state: mails that wait for the recipient to be known are sent."""
    return f"python -m services.users republish --type users --key {user_id}"


def cancel_overdue(order_id: str) -> str:
    """Cancel an order that is past its deadline."""
    return f"python -m services.orders cancel-overdue {order_id} {NOTE}"


def cancel_order(order_id: str) -> str:
    """Cancel an order that was not shipped."""
    return f"python -m services.orders cancel {order_id} {NOTE}"


def drop_notification(notification_id: str) -> str:
    """Drop one notification."""
    return f"python -m services.notifications notifications drop --id {notification_id} {NOTE}"


def drop_notifications_of(order_id: str) -> str:
    """Drop the notifications of an order that its service does not know."""
    return f"python -m services.notifications notifications drop --order {order_id} {NOTE}"


def resend(service: str, *, topic: str, key: str, since: datetime) -> str:
    """Publish a key's events again, with their ids and sequences."""
    return f"python -m services.{service} outbox resend --topic {topic} --key {key} --since {since.isoformat()}"


def reset_position(service: str, *, consumer: str, key: str, to: int) -> str:
    """Set a consumer's position in a key."""
    return f"python -m services.{service} positions reset --consumer {consumer} --key {key} --to {to} {NOTE}"


def settle_dead_letter(service: str, dead_letter_id: int, *, reason: str) -> str:
    """Replay a dead letter whose cause was corrected; discard one that can never be applied."""
    if reason in {"undecodable", "foreign", "rule_violated", "invalid", "too_old"}:
        return f"python -m services.{service} dead-letters discard --id {dead_letter_id} {NOTE}"
    return f"python -m services.{service} dead-letters replay --id {dead_letter_id}"


def run_role(service: str, role: str) -> str:
    """Start the part of a service that does what is overdue."""
    return f"python -m services.{service} serve --role {role}"


def accept(finding_id: str) -> str:
    """Stop the report of what cannot be made whole."""
    return f"python -m deploy.audit accept {finding_id} {NOTE}"
