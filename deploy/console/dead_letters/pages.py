"""The pages *Dead letters*: what waits, what a replay or a discard would do, and who did what."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form
from starlette.responses import HTMLResponse, RedirectResponse, Response

from deploy.console.dead_letters import commands, queries
from deploy.console.dead_letters.routes import DeadLetterId, SelectionDep
from deploy.console.dead_letters.schemas import DeadLetterAction, RepublicationRequest, ResendRequest
from deploy.console.dependencies import NonEmpty, ServicesDep
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.settings import SERVICES, ServiceName
from shared.events.topics import TOPICS
from shared.messaging.dead_letters.reason import DeadLetterReason

PLACE = "/dead-letters"
pages = APIRouter(prefix=PLACE, include_in_schema=False, route_class=PageRoute)

Text = Annotated[str, Form(max_length=500)]


@pages.get("")
async def dead_letters_page(
    screen: ScreenDep,
    services: ServicesDep,
    selection: SelectionDep,
    *,
    service: Annotated[ServiceName | None, NonEmpty] = None,
    cursor: str | None = None,
) -> HTMLResponse:
    """Show the dead letters of all services, with a filter."""
    found = await queries.dead_letters(services, screen.operator, selection, service=service, cursor=cursor)
    return screen.show(
        "dead_letters.html",
        place=PLACE,
        found=found,
        selection=selection,
        service=service,
        services=SERVICES,
        reasons=list(DeadLetterReason),
    )


@pages.get("/actions")
async def actions_page(screen: ScreenDep, services: ServicesDep) -> HTMLResponse:
    """Show who did what."""
    actions = await queries.last_actions(services, screen.operator)
    return screen.show("dead_letters_actions.html", place=PLACE, actions=actions)


@pages.get("/sending")
async def sending_page(screen: ScreenDep) -> HTMLResponse:
    """Show the forms that resend and republish events."""
    return screen.show("dead_letters_sending.html", place=PLACE, topics=TOPICS, counted=None, form={})


@pages.post("/sending/resends")
async def handle_resend(
    screen: ScreenDep,
    services: ServicesDep,
    *,
    topic: Text,
    since: Annotated[datetime, Form()],
    key: Text = "",
    dry_run: Annotated[bool, Form()] = False,
) -> Response:
    """Count the events that would be resent, or begin to resend them. Times without a zone are in UTC."""
    service = next((each.producer for each in TOPICS if each.name == topic), "orders")
    request = ResendRequest(since=since, topic=topic, key=key or None, dry_run=dry_run)
    found = await commands.resend(services, screen.operator, service, request)
    if found["operation"] is not None:
        return _operation_redirect(service, "resends", found["operation"])
    form = {"topic": topic, "since": since, "key": key}
    return screen.show("dead_letters_sending.html", place=PLACE, topics=TOPICS, counted=found, form=form)


@pages.post("/sending/republications")
async def handle_republication(
    screen: ScreenDep, services: ServicesDep, *, service: Annotated[ServiceName, Form()]
) -> Response:
    """Begin to republish the current state of a service."""
    found = await commands.republish(services, screen.operator, service, RepublicationRequest())
    return _operation_redirect(service, "republications", found)


@pages.get("/{service}/operations/{kind}/{operation_id}")
async def operation_page(
    service: ServiceName,
    kind: Literal["resends", "republications"],
    operation_id: str,
    screen: ScreenDep,
    services: ServicesDep,
) -> HTMLResponse:
    """Show the progress of a resend or a republication."""
    found = await queries.operation(services, screen.operator, service, kind=kind, operation_id=operation_id)
    return screen.show("dead_letters_operation.html", place=PLACE, operation=found, service=service)


@pages.get("/{service}/{dead_letter_id}")
async def dead_letter_page(
    service: ServiceName,
    dead_letter_id: DeadLetterId,
    screen: ScreenDep,
    services: ServicesDep,
) -> HTMLResponse:
    """Show one dead letter: the event, the error, and what was done about it."""
    found = await queries.dead_letter(services, screen.operator, service, dead_letter_id)
    return screen.show("dead_letter.html", place=PLACE, dead_letter=found, service=service)


async def _action(
    action: Annotated[Literal["replay", "discard"], Form()],
    *,
    consumer: Text = "",
    key: Text = "",
    type: Text = "",  # noqa: A002 - the field's name
    reason: Text = "",
    id: Annotated[str, Form(pattern="^[0-9]{0,16}$")] = "",  # noqa: A002
    note: Text = "",
    dry_run: Annotated[bool, Form()] = False,
) -> DeadLetterAction:
    """Return the action of a form, in which empty fields select anything."""
    selected = {"consumer": consumer, "key": key, "type": type, "reason": reason}
    given = {name: value for name, value in selected.items() if value}
    return DeadLetterAction(action=action, note=note, dry_run=dry_run, id=int(id) if id else None, **given)


@pages.post("/{service}/actions")
async def handle_action(
    service: ServiceName,
    screen: ScreenDep,
    services: ServicesDep,
    action: Annotated[DeadLetterAction, Depends(_action)],
) -> HTMLResponse:
    """Show what an action would do, or what it has done."""
    outcome = await commands.act(services, screen.operator, service, action)
    return screen.show("dead_letters_outcome.html", place=PLACE, outcome=outcome, action=action)


def _operation_redirect(service: str, kind: str, operation: dict[str, Any]) -> RedirectResponse:
    return RedirectResponse(f"{PLACE}/{service}/operations/{kind}/{operation['id']}", 303)
