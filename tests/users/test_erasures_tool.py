"""The operators' commands for erasures: list the stuck ones, ask again, repeat what a restored database has lost."""

import json
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.users.erasure.repeating import ReceiptsInvalid, receipts_in
from services.users.settings import Settings
from tests.harness.rows import Rows
from tests.harness.tool import Tool
from tests.users.erasures import answer, asked, erase, finish, read_receipt, request_erasure
from tests.users.service import UsersService


@pytest.fixture
def tool(settings: Settings) -> Tool:
    return Tool("users", settings.database_url)


async def user_of(service: UsersService, header: dict[str, str]) -> str:
    return str((await service.http.get("/v1/users/me", headers=header)).json()["id"])


async def test_pending_erasures_are_listed_and_asked_for_again(service: UsersService, tool: Tool) -> None:
    header = await service.header_with("customer")
    receipt = await request_erasure(service, header)

    _, listed = await tool.json("erasures", "list")
    status, retried, _ = await tool("erasures", "retry", receipt["id"])

    assert [(each["id"], each["waits_for"]) for each in listed] == [(receipt["id"], ["orders", "notifications"])]
    assert (status, retried) == (0, "asked 2 times; waits for orders, notifications\n")
    assert await asked(service) == 2


async def test_erasures_that_a_restored_database_has_lost_are_repeated_with_their_receipts(
    service: UsersService, tool: Tool, tmp_path: Path
) -> None:
    header, pending = await service.header_with("customer"), await service.header_with("support", email="p@example.org")
    user_id = await user_of(service, header)
    erased = await erase(service, header, user_id)
    known = await request_erasure(service, pending)
    file = tmp_path / "receipts.json"
    _, receipts = await tool.json("erasures", "list", "--all")
    unknown = receipts[0] | {"id": str(UUID(int=4)), "user_id": str(UUID(int=5))}
    file.write_text(json.dumps([*receipts, unknown]))
    await restore(service, user_id)

    status, outcomes = await tool.json("erasures", "repeat", "--file", str(file))

    assert status == 0
    assert {each["id"]: each["outcome"] for each in outcomes} == {
        erased["id"]: "requested",
        known["id"]: "known",
        unknown["id"]: "user_unknown",
    }
    again = await read_receipt(service, erased["id"])
    assert (again["status"], again["requested_at"]) == ("pending", erased["requested_at"])
    await answer(service, erased, user_id, sequence=9)
    await finish(service)
    assert (await read_receipt(service, erased["id"]))["status"] == "completed"
    assert await Rows(service.sessions).of("SELECT count(*) FROM user_account WHERE status = 'erased'") == [(1,)]


async def restore(service: UsersService, user_id: str) -> None:
    """Bring an erased account back, as the restore of an older state does."""
    async with service.sessions.begin() as session:
        await session.execute(sa.text("DELETE FROM erasure_acknowledgement"))
        await session.execute(sa.text("DELETE FROM erasure WHERE user_id = :id"), {"id": UUID(user_id)})
        await session.execute(
            sa.text("UPDATE user_account SET status = 'active', email = 'a@example.org' WHERE id = :id"),
            {"id": UUID(user_id)},
        )


def test_a_file_that_holds_no_receipts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "receipts.json"
    file.write_text('{"id": 1}')

    with pytest.raises(ReceiptsInvalid):
        receipts_in(file)
