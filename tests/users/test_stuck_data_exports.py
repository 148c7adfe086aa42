"""Exports that a service has not answered: asked for again, measured, and ended by the erasure of their user."""

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from services.users.data_export.jobs import DATA_EXPORTS
from shared.events.notifications import RecipientExported
from shared.events.orders import CustomerExported
from shared.measurements import Measurements
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.exports import PATH, answer, finish, read, ready_export, request_export, run_scheduled, shift_exports
from tests.users.service import UsersService

DELAY = "SELECT requests, round(extract(epoch FROM next_request_at - now()) / 60)::int FROM data_export"


async def destroy_keys(service: UsersService) -> None:
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET personal_key = NULL"))


async def test_missing_services_are_asked_again_with_growing_delays(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    export = await request_export(service, header)
    await run_scheduled(service, "request_missing_exports")
    rows = Rows(service.sessions)
    assert await rows.of(DELAY) == [(1, 10)]

    delays = []
    for _ in range(7):
        await shift_exports(service, hours=6)
        await run_scheduled(service, "request_missing_exports")
        await run_scheduled(service, "request_missing_exports")
        delays += await rows.of(DELAY)

    assert delays == [(2, 20), (3, 40), (4, 80), (5, 160), (6, 320), (7, 360), (8, 360)]
    events = [data for type_, data in await service.events() if type_ == "user.export_requested"]
    assert [data["request_id"] for data in events] == [export["id"]] * 8
    await answer(service, export["id"])
    await finish(service)
    assert (await read(service, header, export))["status"] == "ready"


async def test_an_export_that_lacks_its_last_job_only_is_finished(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    export = await request_export(service, header)
    await answer(service, export["id"])
    async with service.sessions.begin() as session:
        await session.execute(sa.text("DELETE FROM pgqueuer"))  # as if the job had failed its last attempt
    await shift_exports(service, hours=1)

    await run_scheduled(service, "request_missing_exports")
    await finish(service)

    assert (await read(service, header, export))["status"] == "ready"
    assert [type_ for type_, _ in await service.events()] == ["user.export_requested", "user.export_ready"]


async def test_the_pending_exports_are_measured(service: UsersService) -> None:
    measurements = Measurements([DATA_EXPORTS], sessions=service.sessions)
    await request_export(service, await service.sign_up_and_in())
    await shift_exports(service, hours=2)

    await measurements.measure()
    assert REGISTRY.get_sample_value("data_exports_pending") == 1
    assert 7_200 <= (REGISTRY.get_sample_value("data_exports_oldest_pending_seconds") or 0) < 7_260
    ((export_id,),) = await Rows(service.sessions).of("SELECT id::text FROM data_export")
    await answer(service, export_id)
    await finish(service)
    await measurements.measure()
    assert REGISTRY.get_sample_value("data_exports_pending") == 0
    assert REGISTRY.get_sample_value("data_exports_oldest_pending_seconds") == 0


@pytest.mark.parametrize("answered", [(), (CustomerExported, RecipientExported)])
async def test_the_export_of_an_erased_user_does_not_stay_pending(service: UsersService, answered: tuple[type]) -> None:
    export = await request_export(service, await service.sign_up_and_in())
    if answered:
        await answer(service, export["id"], *answered)
    await destroy_keys(service)
    await finish(service)
    assert await Rows(service.sessions).of("SELECT status FROM data_export") == [("pending",)]
    await shift_exports(service, hours=1)

    await run_scheduled(service, "request_missing_exports")

    assert await Rows(service.sessions).count("data_export") == 0
    assert [type_ for type_, _ in await service.events()] == ["user.export_requested"]


async def test_the_ready_export_of_an_erased_user_cannot_be_read(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    export = await ready_export(service, header)
    await destroy_keys(service)

    content = await service.http.get(f"{PATH}/{export['id']}/content", headers=header)

    assert problem(content) == (410, "export_expired")
