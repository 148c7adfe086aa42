"""Changes of the page *Dead letters*. The services make and record them, in the name of the operator."""

from datetime import UTC
from typing import Any

from deploy.console.access.operator import Operator
from deploy.console.dead_letters.schemas import DeadLetterAction, OutcomeView, RepublicationRequest, ResendRequest
from deploy.console.services import Services
from shared.errors import Problem


class NoteRequired(Problem):
    """Say why the dead letters may be discarded."""

    status = 422
    code = "note_required"


class NothingSelected(Problem):
    """Select dead letters by a consumer, a key, a type, a reason or an id."""

    status = 422
    code = "nothing_selected"


async def act(services: Services, operator: Operator, service: str, action: DeadLetterAction) -> OutcomeView:
    """Replay or discard the selected dead letters, or say what that would do.

    Raises: NoteRequired, NothingSelected, Problem of the service.
    """
    if not action.given:
        raise NothingSelected
    body = {**action.given, "dry_run": action.dry_run}
    path = f"/v1/operations/{service}/dead-letters"
    if action.action == "replay":
        return _replayed(service, await services.post(service, f"{path}/replays", body, token=operator.token))
    if not action.note.strip() and not action.dry_run:
        raise NoteRequired
    note = action.note.strip() or "a dry run"
    found = await services.post(service, f"{path}/discards", {**body, "note": note}, token=operator.token)
    return _discarded(service, found)


async def resend(services: Services, operator: Operator, service: str, request: ResendRequest) -> dict[str, Any]:
    """Publish sent events again, after a broker has lost data. A time without a zone is in UTC. Raises: Problem."""
    since = request.since if request.since.tzinfo else request.since.replace(tzinfo=UTC)
    body = {"since": since.isoformat(), "topic": request.topic, "key": request.key, "dry_run": request.dry_run}
    path = f"/v1/operations/{service}/outbox/resends"
    found: dict[str, Any] = await services.post(service, path, body, token=operator.token)
    return found


async def republish(
    services: Services, operator: Operator, service: str, request: RepublicationRequest
) -> dict[str, Any]:
    """Publish the current state of a service's aggregates, for consumers that have lost theirs. Raises: Problem."""
    path = f"/v1/operations/{service}/republications"
    found: dict[str, Any] = await services.post(service, path, {"types": request.types}, token=operator.token)
    return found


def _replayed(service: str, found: dict[str, Any]) -> OutcomeView:
    return OutcomeView(
        service=service,
        action="replay",
        dry_run=found["dry_run"],
        selected=sum(key["dead_letters"] for key in found["keys"]),
        applied=found["applied"],
        failures=[f"{key['key']}: {key['error']}" for key in found["keys"] if key["error"]],
        details=found,
    )


def _discarded(service: str, found: dict[str, Any]) -> OutcomeView:
    return OutcomeView(
        service=service,
        action="discard",
        dry_run=found["dry_run"],
        selected=len(found["dead_letters"]),
        applied=found["drained"],
        failures=[],
        details=found,
    )
