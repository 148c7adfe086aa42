"""Recovery codes: each replaces the second factor once. They are shown once and stored hashed."""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.second_factors import RecoveryCode
from shared.statements import count_deleted

NUMBER = 10
"""Codes in a set."""
_BYTES = 10
"""80 random bits: too many to be guessed, even by somebody who has the hashes. So they need no slow hash."""
_GROUP = 4


def new_recovery_codes() -> list[str]:
    """Return a new set, such as `ABCD-EFGH-IJKL-MNOP`."""
    return [_grouped(base64.b32encode(secrets.token_bytes(_BYTES)).decode()) for _ in range(NUMBER)]


async def replace_recovery_codes(session: AsyncSession, *, user_id: UUID) -> list[str]:
    """Replace an account's codes by a new set, and return it. This is the only time that it is seen."""
    await delete_recovery_codes(session, user_id=user_id)
    codes = new_recovery_codes()
    await session.execute(sa.insert(RecoveryCode), [{"user_id": user_id, "code_hash": hash_of(code)} for code in codes])
    return codes


async def delete_recovery_codes(session: AsyncSession, *, user_id: UUID) -> None:
    """Delete an account's codes."""
    await session.execute(sa.delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


async def use_recovery_code(session: AsyncSession, *, user_id: UUID, code: str) -> bool:
    """Use a code up, and return whether it was one of the account's. Of two simultaneous uses, one gets True."""
    used: Sequence[sa.ColumnElement[bool]] = (RecoveryCode.user_id == user_id, RecoveryCode.code_hash == hash_of(code))
    return await count_deleted(session, sa.delete(RecoveryCode).where(*used)) > 0


def hash_of(code: str) -> bytes:
    """Return the hash of a code; its case, spaces and hyphens do not matter."""
    return hashlib.sha256("".join(code.upper().replace("-", "").split()).encode()).digest()


def _grouped(code: str) -> str:
    return "-".join(code[start : start + _GROUP] for start in range(0, len(code), _GROUP))
