"""Statements that change a test's rows, such as to let time pass."""

from typing import Any

import sqlalchemy as sa

from shared.database import Sessions


async def execute(sessions: Sessions, statement: str, **parameters: Any) -> None:
    """Execute a statement, and commit it."""
    async with sessions.begin() as session:
        await session.execute(sa.text(statement), parameters)
