"""Encrypting the secrets of the database anew, after the encryption keys' file got a new first key."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.encryption import Encryption
from services.users.models import Base
from shared.database import Sessions

BATCH_ROWS = 200
"""Rows per transaction. More would hold their locks for longer."""


async def reencrypt_all(sessions: Sessions, *, encryption: Encryption) -> dict[str, int]:
    """Encrypt each column that is declared with `info={"encrypted": True}` anew; return the numbers of secrets.

    A secret that is stored meanwhile is encrypted with the first key already, if every process has the new file.
    Raises: SecretUnreadable if none of the keys decrypts a secret; the batches before it stay encrypted anew.
    """
    done = {}
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if column.info.get("encrypted"):
                done[f"{table.name}.{column.name}"] = await _reencrypt(sessions, column, encryption=encryption)
    return done


async def _reencrypt(sessions: Sessions, column: sa.Column[str], *, encryption: Encryption) -> int:
    (key,) = column.table.primary_key
    done, last = 0, None
    while True:
        async with sessions.begin() as session:
            keys = await _reencrypt_batch(session, column, key, after=last, encryption=encryption)
        if not keys:
            return done
        done, last = done + len(keys), keys[-1]


async def _reencrypt_batch(
    session: AsyncSession, column: sa.Column[str], key: sa.Column[object], *, after: object, encryption: Encryption
) -> list[object]:
    """Encrypt the next rows in the order of their primary key, and return their keys."""
    query = sa.select(key, column).where(column.is_not(None)).order_by(key).limit(BATCH_ROWS).with_for_update()
    rows = (await session.execute(query if after is None else query.where(key > after))).all()
    for row_key, secret in rows:
        changed = sa.update(column.table).where(key == row_key).values({column: encryption.rotate(secret)})
        await session.execute(changed)
    return [row_key for row_key, _ in rows]
