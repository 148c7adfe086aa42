"""Steps of an erasure in the users service: the requests, the answers of the other services, and the jobs."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
import sqlalchemy as sa

from services.users.erasure.jobs import add_erasure_jobs, ask_for_erasures_again
from services.users.models.erasure import Erasure
from services.users.subscribers import notifications, orders
from shared.events.contract import Event
from shared.events.notifications import RecipientErased
from shared.events.orders import CustomerErased
from shared.jobs import Jobs
from shared.messaging.consumer.batch import apply_batch
from tests.harness.builders import received
from tests.users.service import UsersService

ASKED = "user.erasure_requested"
ANSWERS: tuple[type[CustomerErased | RecipientErased], ...] = (CustomerErased, RecipientErased)


async def request_erasure(service: UsersService, header: dict[str, str], **headers: str) -> dict[str, Any]:
    """Request the erasure of the caller's account, and return the receipt."""
    response = await service.http.post("/v1/users/me/erasure", headers=header | headers)
    assert response.status_code == 202, response.text
    receipt: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/erasures/{receipt['id']}/receipt"
    return receipt


async def answer(
    service: UsersService,
    receipt: dict[str, Any],
    user_id: str,
    *answers: type[CustomerErased | RecipientErased],
    sequence: int = 1,
) -> None:
    """Apply the answers of other services, as the consumers do."""
    for event in [each(user_id=UUID(user_id), request_id=UUID(receipt["id"])) for each in answers or ANSWERS]:
        await _apply(service, event, sequence=sequence)


async def finish(service: UsersService) -> None:
    """Run the jobs that the last acknowledgements have enqueued."""
    task = add_erasure_jobs(Jobs(), encryption=service.app.state.encryption)._tasks["finish_erasure"].task
    async with service.sessions() as session:
        payloads = await session.scalars(sa.text("SELECT payload FROM pgqueuer WHERE entrypoint = 'finish_erasure'"))
    for payload in payloads.all():
        await task(service.sessions, payload)


async def erase(service: UsersService, header: dict[str, str], user_id: str) -> dict[str, Any]:
    """Erase an account, and return the receipt."""
    receipt = await request_erasure(service, header)
    await answer(service, receipt, user_id)
    await finish(service)
    return await read_receipt(service, receipt["id"])


async def read_receipt(service: UsersService, erasure_id: str) -> dict[str, Any]:
    """Read a receipt without signing in."""
    response = await service.http.get(f"/v1/erasures/{erasure_id}/receipt")
    assert response.status_code == 200, response.text
    receipt: dict[str, Any] = response.json()
    return receipt


async def let_pass(service: UsersService, *, minutes: float) -> None:
    """Let the last question of each erasure be older, and run the timed job."""
    await service.shift(Erasure.last_asked_at, by=timedelta(minutes=minutes))
    await ask_for_erasures_again(service.sessions)


async def asked(service: UsersService) -> int:
    """Return how often the other services were asked."""
    return [type_ for type_, _ in await service.events()].count(ASKED)


async def erase_as_admin(service: UsersService, admin: dict[str, str], user_id: object) -> httpx2.Response:
    """Request the erasure of a user as an admin."""
    body = {"reason": "asked for it by letter"}
    return await service.http.post(f"/v1/users/{user_id}/erasure", json=body, headers=admin)


async def _apply(service: UsersService, event: Event, *, sequence: int) -> None:
    subscription = orders if isinstance(event, CustomerErased) else notifications
    async with service.sessions.begin() as session:
        await apply_batch(
            session,
            consumer=f"users.{subscription.topic}",
            subscription=subscription,
            events=[received(event, sequence=sequence)],
        )
