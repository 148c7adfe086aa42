"""Idempotency keys: the saved answer lies in the same transaction as the effect, so a repeat can never do it twice."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Header, Request
from pydantic import BaseModel, SecretBytes, SecretStr
from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import Response

from shared.errors import Conflict, Problem
from shared.http.responses import REPLAYED_HEADER

# The key itself is not stored: it salts the fingerprint, so that a password in a body cannot be guessed from the table.
SCHEMA_UP = """
CREATE TABLE idempotency_key (
    caller uuid NOT NULL,
    route text NOT NULL,
    key_hash bytea NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_idempotency_key PRIMARY KEY (caller, route, key_hash)
);

CREATE INDEX ix_idempotency_key_created_at ON idempotency_key (created_at);
"""
SCHEMA_DOWN = "DROP TABLE idempotency_key;"

_ANYONE = UUID(int=0)
_TABLE = Table(
    "idempotency_key",
    MetaData(),
    Column("caller", Uuid, nullable=False),
    Column("route", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("caller", "route", "key_hash", name="pk_idempotency_key"),
    Index("ix_idempotency_key_created_at", "created_at"),
)


def idempotency_table(metadata: MetaData) -> Table:
    """Declare the table in a service's metadata, for its migrations to be compared with."""
    return _TABLE.to_metadata(metadata)


class IdempotencyKeyInUse(Conflict):
    """The first request with this Idempotency-Key is still running."""

    code = "idempotency_key_in_use"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class IdempotencyKeyReused(Problem):
    """This Idempotency-Key was used with another body."""

    status = 422
    code = "idempotency_key_reused"


_KEY_HEADER = Header(
    alias="Idempotency-Key",
    min_length=1,
    max_length=255,
    pattern=r"^[\x21-\x7e]+$",
    description="A random key: a repeat with it gets the first answer again instead of a second effect.",
    examples=["0b1c5a3e-6f0e-4f0c-9a53-0a4c2f3d9e11"],
)
IdempotencyKey = Annotated[str | None, _KEY_HEADER]

Action = Callable[[AsyncSession], Awaitable[Response]]


@dataclass(frozen=True)
class _Use:
    """One use of a key: whose, where, and for what."""

    caller: UUID
    route: str
    key_hash: bytes
    fingerprint: bytes

    @property
    def lock_id(self) -> int:
        whole = b"\0".join((self.caller.bytes, self.route.encode(), self.key_hash))
        return int.from_bytes(hashlib.sha256(whole).digest()[:8], signed=True)


async def run_idempotently(
    sessions: async_sessionmaker[AsyncSession],
    *,
    request: Request,
    caller_id: UUID | None,
    key: str | None,
    body: BaseModel,
    action: Action,
) -> Response:
    """Run `action` once per key, in one transaction with its saved answer; returns after the commit.

    A refusal rolls everything back and is not saved: the repeat is judged anew. Not for answers that hold secrets, such
    as tokens: they would lie in the table. Raises: IdempotencyKeyInUse, IdempotencyKeyReused.
    """
    async with sessions.begin() as session:
        if key is None:
            return await action(session)
        use = _Use(
            caller=caller_id or _ANYONE,
            route=f"{request.method} {request.url.path}",
            key_hash=hashlib.sha256(key.encode()).digest(),
            fingerprint=_fingerprint(body, key=key),
        )
        if not await session.scalar(select(func.pg_try_advisory_xact_lock(use.lock_id))):
            raise IdempotencyKeyInUse
        saved = await _saved_answer(session, use)
        if saved is not None:
            return saved
        response = await action(session)
        await _save_answer(session, use, response)
    return response


def _fingerprint(body: BaseModel, *, key: str) -> bytes:
    canonical = orjson.dumps(body.model_dump(), default=_plain, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key.encode(), canonical, "sha256")


def _plain(value: object) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, SecretBytes):
        return value.get_secret_value().hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


async def _saved_answer(session: AsyncSession, use: _Use) -> Response | None:
    row = (
        await session.execute(
            select(_TABLE.c.fingerprint, _TABLE.c.status, _TABLE.c.headers, _TABLE.c.body).where(
                _TABLE.c.caller == use.caller, _TABLE.c.route == use.route, _TABLE.c.key_hash == use.key_hash
            )
        )
    ).one_or_none()
    if row is None:
        return None
    if not hmac.compare_digest(row.fingerprint, use.fingerprint):
        raise IdempotencyKeyReused
    return Response(row.body, row.status, headers={**row.headers, REPLAYED_HEADER: "true"})


async def _save_answer(session: AsyncSession, use: _Use, response: Response) -> None:
    await session.execute(
        insert(_TABLE).values(
            caller=use.caller,
            route=use.route,
            key_hash=use.key_hash,
            fingerprint=use.fingerprint,
            status=response.status_code,
            headers={name: value for name, value in response.headers.items() if name != "content-length"},
            body=bytes(response.body),
        )
    )


async def purge_idempotency_keys(session: AsyncSession, *, older_than: timedelta, limit: int = 10_000) -> int:
    """Delete one batch of old keys; repeat, a transaction each, until it returns less than `limit`."""
    # Found again by where they lie: by their keys, so many would have the planner read the whole table for each batch.
    ctid: ColumnElement[Any] = literal_column("ctid")
    old = (
        select(ctid)
        .select_from(_TABLE)
        .where(_TABLE.c.created_at < func.now() - older_than)
        .order_by(_TABLE.c.created_at)
        .limit(limit)
    )
    of_batch = ctid == func.any(func.array(old.scalar_subquery()))
    deleted = await session.scalars(delete(_TABLE).where(of_batch).returning(literal(1)))
    return len(deleted.all())
