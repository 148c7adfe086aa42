"""`recover` raises the generation of a restored database, and tells how its service continues."""

from shared.database import Database
from shared.ids import new_id
from shared.messaging.outbox.outbox import record
from tests.harness.rows import Rows
from tests.harness.tool import Tool
from tests.shared.effects import credit_reserved

GENERATIONS = "SELECT generation, actor, note FROM stream_generation ORDER BY generation"


async def test_recover_raises_the_generation_and_reports(database: Database, database_url: str) -> None:
    async with database.sessions.begin() as session:
        record(session, credit_reserved(new_id()))
    tool = Tool("users", database_url)
    status, found = await tool.json("recover", "--actor", "me", "--note", "dump of Monday")
    assert status == 0
    assert found["unsent_events"] == 1
    assert found["next_offsets"] == {"users.orders": {}, "users.notifications": {}}
    generation = found["generations"][-1]["generation"]
    rows = await Rows(database.sessions).of(GENERATIONS)
    assert rows == [(0, "migration", "the first one"), (generation, "me", "dump of Monday")]
    assert generation > 0


async def test_a_dry_run_raises_nothing(database: Database, database_url: str) -> None:
    status, out, _ = await Tool("users", database_url)("recover", "--dry-run")
    assert status == 0
    assert "0 events wait in the outbox" in out
    assert "users.orders begins" in out
    assert await Rows(database.sessions).count("stream_generation") == 1
