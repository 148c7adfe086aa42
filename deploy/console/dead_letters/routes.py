"""The API of the page *Dead letters*. It passes on the services' answers to the operator's own token."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query

from deploy.console.access.operator import OperatorDep
from deploy.console.dead_letters import commands, queries
from deploy.console.dead_letters.schemas import (
    ActionsView,
    DeadLetterAction,
    DeadLettersView,
    OutcomeView,
    RepublicationRequest,
    ResendRequest,
    Selection,
)
from deploy.console.dependencies import ServicesDep
from deploy.console.settings import ServiceName
from shared.http.problems import responses

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])

_Filter = Annotated[str | None, Query(max_length=500)]
DeadLetterId = Annotated[int, Path(ge=1, examples=[17])]


async def _selection(
    consumer: _Filter = None,
    key: _Filter = None,
    type: _Filter = None,  # noqa: A002 - the parameter's name
    reason: _Filter = None,
) -> Selection:
    return Selection(consumer=consumer or None, key=key or None, type=type or None, reason=reason or None)


SelectionDep = Annotated[Selection, Depends(_selection)]


@router.get("", summary="List dead letters of all services")
async def list_dead_letters(
    operator: OperatorDep,
    services: ServicesDep,
    selection: SelectionDep,
    *,
    service: ServiceName | None = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of one service; name it too.")] = None,
) -> DeadLettersView:
    """Return the unresolved dead letters, oldest first, and the keys that they block."""
    return await queries.dead_letters(services, operator, selection, service=service, cursor=cursor)


@router.get("/actions", summary="Read who did what")
async def read_actions(operator: OperatorDep, services: ServicesDep) -> ActionsView:
    """Return the last actions of operators and jobs in all services, newest first."""
    return await queries.last_actions(services, operator)


@router.get("/{service}/{dead_letter_id}", summary="Read a dead letter")
async def read_dead_letter(
    service: ServiceName, dead_letter_id: DeadLetterId, operator: OperatorDep, services: ServicesDep
) -> dict[str, Any]:
    """Return a dead letter as the service does: headers, payload, and the actions taken on it."""
    return await queries.dead_letter(services, operator, service, dead_letter_id)


@router.post(
    "/{service}/actions",
    summary="Replay or discard dead letters",
    responses=responses(commands.NoteRequired, commands.NothingSelected),
)
async def act_on_dead_letters(
    service: ServiceName, body: DeadLetterAction, operator: OperatorDep, services: ServicesDep
) -> OutcomeView:
    """Replay or discard the selected dead letters of a service; a dry run only says what that would do."""
    return await commands.act(services, operator, service, body)


@router.post("/{service}/resends", summary="Resend events")
async def resend_events(
    service: ServiceName, body: ResendRequest, operator: OperatorDep, services: ServicesDep
) -> dict[str, Any]:
    """Publish sent events of a service again with the same ids, after a broker has lost data."""
    return await commands.resend(services, operator, service, body)


@router.post("/{service}/republications", summary="Republish current state")
async def republish(
    service: ServiceName, body: RepublicationRequest, operator: OperatorDep, services: ServicesDep
) -> dict[str, Any]:
    """Publish the current state of a service's aggregates, for consumers that are new or have lost their data."""
    return await commands.republish(services, operator, service, body)


@router.get("/{service}/operations/{kind}/{operation_id}", summary="Read a resend or a republication")
async def read_operation(
    service: ServiceName,
    kind: Literal["resends", "republications"],
    operation_id: str,
    operator: OperatorDep,
    services: ServicesDep,
) -> dict[str, Any]:
    """Return the operation and its progress, as the service does."""
    return await queries.operation(services, operator, service, kind=kind, operation_id=operation_id)
