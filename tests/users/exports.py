"""Exports of users' data in tests: request them, answer in the place of the other services, and run the jobs."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx2
import sqlalchemy as sa
from pydantic import JsonValue

from services.users.data_export.jobs import with_data_exports
from services.users.models.accounts import UserAccount
from services.users.subscribers import SUBSCRIPTIONS
from shared.events.exported_data import DataExportedEvent, ExportedData
from shared.events.notifications import RecipientExported
from shared.events.orders import CustomerExported
from shared.ids import new_id
from shared.jobs import Jobs
from shared.messaging.consumer.batch import apply_batch
from tests.harness.builders import received
from tests.harness.rows import Rows
from tests.users.service import UsersService

PATH = "/v1/users/me/exports"
NO_ORDERS: dict[str, list[JsonValue]] = {"orders": [], "order_items": [], "order_timeline": []}
SERVICES: Mapping[type[DataExportedEvent], ExportedData] = {
    CustomerExported: ExportedData(facts={"customer": None}, lists=NO_ORDERS),
    RecipientExported: ExportedData(facts={"recipient": None}, lists={"notifications": []}),
}
"""The events of the other services, and the answer of each that knows nothing of the user."""


async def request_export(service: UsersService, header: Mapping[str, str]) -> dict[str, Any]:
    response = await service.http.post(PATH, headers=dict(header))
    assert response.status_code == 202, response.text
    body: dict[str, Any] = response.json()
    assert response.headers["location"] == f"{PATH}/{body['id']}"
    return body


async def read(service: UsersService, header: Mapping[str, str], export: Mapping[str, Any], path: str = "") -> Any:
    response: httpx2.Response = await service.http.get(f"{PATH}/{export['id']}{path}", headers=dict(header))
    assert response.status_code == 200, response.text
    return response.json()


async def parts_of(
    service: UsersService,
    event_class: type[DataExportedEvent],
    export_id: str,
    data: Sequence[ExportedData],
    *,
    user_id: UUID | None = None,
) -> list[DataExportedEvent]:
    """Return the events of one attempt of a service, sealed with the key of the export's user."""
    rows = Rows(service.sessions)
    owner = user_id or (await rows.of("SELECT user_id FROM data_export WHERE id = :id", id=export_id))[0][0]
    async with service.sessions() as session:
        account = await session.get_one(UserAccount, owner)
    attempt_id = new_id()
    return [
        event_class(
            user_id=account.id,
            request_id=UUID(export_id),
            attempt_id=attempt_id,
            part=number,
            parts=len(data),
            personal=account.seal(part),
        )
        for number, part in enumerate(data, start=1)
    ]


async def apply(service: UsersService, *events: DataExportedEvent) -> None:
    """Apply events of one topic in one batch, as the consumer does."""
    topic = events[0].topic
    (subscription,) = [each for each in SUBSCRIPTIONS if each.topic == topic]
    ((first,),) = await Rows(service.sessions).of("SELECT coalesce(max(sequence), 0) + 1 FROM inbox_sequence")
    records = [received(event, sequence=first + offset) for offset, event in enumerate(events)]
    async with service.sessions.begin() as session:
        await apply_batch(session, consumer=f"users.{topic}", subscription=subscription, events=records)
    assert await Rows(service.sessions).dead_letters() == []


async def answer(service: UsersService, export_id: str, *event_classes: type[DataExportedEvent]) -> None:
    """Answer as services that know nothing of the user; by default as all."""
    for event_class in event_classes or SERVICES:
        await apply(service, *await parts_of(service, event_class, export_id, [SERVICES[event_class]]))


async def finish(service: UsersService) -> None:
    """Run the jobs that collect the users service's own data."""
    jobs = with_data_exports(Jobs(), settings=service.app.state.settings)
    task = jobs._tasks["finish_data_export"].task
    queued = "SELECT payload FROM pgqueuer WHERE entrypoint = 'finish_data_export' ORDER BY id"
    for (payload,) in await Rows(service.sessions).of(queued):
        await task(service.sessions, payload)
    async with service.sessions.begin() as session:
        await session.execute(sa.text("DELETE FROM pgqueuer WHERE entrypoint = 'finish_data_export'"))


async def run_scheduled(service: UsersService, name: str) -> None:
    """Run a scheduled job of exports."""
    jobs = with_data_exports(Jobs(), settings=service.app.state.settings)
    await jobs._scheduled[name][1](service.sessions)


async def ready_export(service: UsersService, header: Mapping[str, str]) -> dict[str, Any]:
    """Request an export, answer it, and return it once it is ready."""
    export = await request_export(service, header)
    await answer(service, export["id"])
    await finish(service)
    ready: dict[str, Any] = await read(service, header, export)
    assert ready["status"] == "ready"
    return ready


async def shift_exports(service: UsersService, *, hours: int) -> None:
    """Let all exports be older."""
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("""
                UPDATE data_export SET requested_at = requested_at - make_interval(hours => :hours),
                    next_request_at = next_request_at - make_interval(hours => :hours),
                    ready_at = ready_at - make_interval(hours => :hours),
                    expires_at = expires_at - make_interval(hours => :hours)
            """),
            {"hours": hours},
        )
