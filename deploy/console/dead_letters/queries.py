"""Reads of the page *Dead letters*: what waits in each service, and who did what."""

from typing import Any
from urllib.parse import quote

from deploy.console.access.operator import Operator
from deploy.console.dead_letters.schemas import (
    ActionsView,
    DeadLettersView,
    OperatorActionView,
    Selection,
    ServiceDeadLettersView,
)
from deploy.console.services import Services
from deploy.console.settings import SERVICES

PAGE = 50
MAX_ACTIONS = 50


async def dead_letters(
    services: Services,
    operator: Operator,
    selection: Selection,
    *,
    service: str | None = None,
    cursor: str | None = None,
) -> DeadLettersView:
    """Return the selected dead letters of one service or of all. `cursor` is that of one service's page."""

    async def read(name: str) -> ServiceDeadLettersView:
        path = f"/v1/operations/{name}"
        page = await services.get(
            name, f"{path}/dead-letters", token=operator.token, limit=PAGE, cursor=cursor, **selection.given
        )
        blocked = await services.get(
            name, f"{path}/blocked-keys", token=operator.token, consumer=selection.consumer or None
        )
        return ServiceDeadLettersView(
            service=name,
            error=None,
            items=page["items"],
            next_cursor=page["next_cursor"],
            blocked_keys=blocked["items"],
        )

    wanted = [service] if service is not None else _services_of(selection.consumer)
    answers = await services.each(read, among=wanted)
    return DeadLettersView(
        services=[
            answer.value
            or ServiceDeadLettersView(
                service=answer.service, error=answer.error, items=[], next_cursor=None, blocked_keys=[]
            )
            for answer in answers
        ]
    )


async def dead_letter(services: Services, operator: Operator, service: str, dead_letter_id: int) -> dict[str, Any]:
    """Return a dead letter with its headers, its payload and the actions taken on it. Raises: Problem."""
    path = f"/v1/operations/{service}/dead-letters/{dead_letter_id}"
    found: dict[str, Any] = await services.get(service, path, token=operator.token)
    return found


async def operation(
    services: Services, operator: Operator, service: str, *, kind: str, operation_id: str
) -> dict[str, Any]:
    """Return a resend or a republication with its progress. Raises: Problem."""
    part = "outbox/resends" if kind == "resends" else "republications"
    path = f"/v1/operations/{service}/{part}/{quote(operation_id, safe='')}"
    found: dict[str, Any] = await services.get(service, path, token=operator.token)
    return found


async def last_actions(services: Services, operator: Operator) -> ActionsView:
    """Return who did what, over all services."""

    async def read(name: str) -> list[OperatorActionView]:
        path = f"/v1/operations/{name}/actions"
        page = await services.get(name, path, token=operator.token, limit=MAX_ACTIONS)
        return [OperatorActionView.model_validate({"service": name, **item}) for item in page["items"]]

    answers = await services.each(read)
    items = [item for answer in answers for item in answer.value or ()]
    return ActionsView(
        items=sorted(items, key=lambda item: item.acted_at, reverse=True)[:MAX_ACTIONS],
        unavailable={answer.service: answer.error for answer in answers if answer.error},
    )


def _services_of(consumer: str | None) -> list[str]:
    """Return the services that may have dead letters of a consumer, whose name begins with its service."""
    named = [service for service in SERVICES if consumer and consumer.startswith(f"{service}.")]
    return named or list(SERVICES)
