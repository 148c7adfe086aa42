"""Idempotency keys: a repeated request gets the saved response of the first one instead of a second effect.

The response is saved in the same transaction as the effect, so neither exists without the other.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
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
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import Response

from shared.driver_statements import DriverStatement, fetch
from shared.errors import Conflict, Problem
from shared.http.responses import REPLAYED_HEADER
from shared.statements import count_deleted

# Neither the key nor the body is stored in plain text: the fingerprint is keyed with the key, of which there is only a
# hash.
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

_ANONYMOUS = UUID(int=0)
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
    """Add the table to a service's metadata, so that `alembic check` compares it with the migrations."""
    return _TABLE.to_metadata(metadata)


class IdempotencyKeyInUse(Conflict):
    """A request with this Idempotency-Key is still in progress."""

    code = "idempotency_key_in_use"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was already used with a different body."""

    status = 422
    code = "idempotency_key_reused"


_KEY_HEADER = Header(
    alias="Idempotency-Key",
    min_length=1,
    max_length=255,
    pattern=r"^[\x21-\x7e]+$",
    description="A unique value, such as a random UUID. A repeated request with the same key and body has no second "
    "effect: it gets the response of the first one, with the header `Idempotency-Replayed: true`.",
    examples=["0b1c5a3e-6f0e-4f0c-9a53-0a4c2f3d9e11"],
)
IdempotencyKey = Annotated[str | None, _KEY_HEADER]
"""A parameter that takes the optional Idempotency-Key header; pass it on to `run_idempotently`."""

_SAVE = DriverStatement("""
    INSERT INTO idempotency_key (caller, route, key_hash, fingerprint, status, headers, body)
    VALUES (:caller, :route, :key_hash, :fingerprint, :status, CAST(:headers AS jsonb), :body)
""")
# One statement: its snapshot is older than its lock. If another request has saved its response in between, the primary
# key rejects ours.
_LOCK = DriverStatement("""
    SELECT lock.is_locked, k.fingerprint, k.status, k.headers, k.body
    FROM (SELECT pg_try_advisory_xact_lock(:lock_id) AS is_locked) AS lock
    LEFT JOIN idempotency_key k ON k.caller = :caller AND k.route = :route AND k.key_hash = :key_hash
""")

Action = Callable[[AsyncSession], Awaitable[Response]]
"""Makes the changes in the session and returns the response to save. It must not commit."""


@dataclass(frozen=True)
class _KeyUse:
    """One use of a key: by whom, on which route, for which body."""

    caller: UUID
    route: str
    key_hash: bytes
    fingerprint: bytes

    @property
    def lock_id(self) -> int:
        """The id of the advisory lock that a request with this key holds until it commits."""
        whole = b"\0".join((self.caller.bytes, self.route.encode(), self.key_hash))
        return int.from_bytes(hashlib.sha256(whole).digest()[:8], signed=True)


async def run_idempotently(
    sessions: async_sessionmaker[AsyncSession],
    *,
    request: Request,
    caller_id: UUID | None,
    key: str | None,
    body: BaseModel | None,
    action: Action,
) -> Response:
    """Run `action` once per key and save its response in the same transaction; return after the commit.

    Without a key it runs each time. A Problem rolls everything back and is not saved, so a repeat runs `action` again.
    Do not use it for responses with secrets, such as tokens: they would be stored in the table.

    Raises: IdempotencyKeyInUse, IdempotencyKeyReused.
    """
    if key is None:
        async with sessions.begin() as session:
            return await action(session)
    use = _KeyUse(
        caller=caller_id or _ANONYMOUS,
        route=f"{request.method} {request.scope['path']}",
        key_hash=hashlib.sha256(key.encode()).digest(),
        fingerprint=_fingerprint(body, key=key),
    )
    try:
        async with sessions.begin() as session:
            saved = await _lock(session, use)
            if saved is not None:
                return saved
            response = await action(session)
            await _save_response(session, use, response)
    except (IdempotencyKeyInUse, IdempotencyKeyReused):
        raise
    except Problem:
        # The first request may have committed between our snapshot and our lock, and its effect caused the problem.
        async with sessions.begin() as session:
            saved = await _lock(session, use)
        if saved is None:
            raise
        return saved
    return response


def _fingerprint(body: BaseModel | None, *, key: str) -> bytes:
    """Return a keyed hash of the members that the client has sent, whatever their order.

    Those that have their default are left out: a version that knows more of them must find the same fingerprint.
    """
    members = body.model_dump(exclude_unset=True) if body is not None else {}
    canonical = orjson.dumps(members, default=_to_json, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key.encode(), canonical, "sha256")


def _to_json(value: object) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, SecretBytes):
        return value.get_secret_value().hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


async def _lock(session: AsyncSession, use: _KeyUse) -> Response | None:
    """Lock the key until the transaction ends; return the saved response, if there is one.

    Raises: IdempotencyKeyInUse, IdempotencyKeyReused.
    """
    parameters = {"lock_id": use.lock_id, "caller": use.caller, "route": use.route, "key_hash": use.key_hash}
    (row,) = await fetch(session, _LOCK, parameters)
    if not row["is_locked"]:
        raise IdempotencyKeyInUse
    if row["fingerprint"] is None:
        return None
    if not hmac.compare_digest(row["fingerprint"], use.fingerprint):
        raise IdempotencyKeyReused
    return Response(row["body"], row["status"], headers={**row["headers"], REPLAYED_HEADER: "true"})


async def _save_response(session: AsyncSession, use: _KeyUse, response: Response) -> None:
    """Save the response. Raises: IdempotencyKeyInUse if another request did so between our snapshot and our lock."""
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    row = {
        "caller": use.caller,
        "route": use.route,
        "key_hash": use.key_hash,
        "fingerprint": use.fingerprint,
        "status": response.status_code,
        "headers": orjson.dumps(headers).decode(),
        "body": bytes(response.body),
    }
    await session.flush()
    try:
        await fetch(session, _SAVE, row)
    except asyncpg.UniqueViolationError as error:
        raise IdempotencyKeyInUse from error


async def purge_idempotency_keys(session: AsyncSession, *, before: datetime, limit: int = 10_000) -> int:
    """Delete one batch of the keys that were first used before a time; return the number of rows.

    Repeat it, in a transaction each, until it returns 0.
    """
    # Delete by ctid: to join this many rows by their keys, the planner would scan the whole table for each batch.
    ctid: ColumnElement[Any] = literal_column("ctid")
    old = (
        select(ctid).select_from(_TABLE).where(_TABLE.c.created_at < before).order_by(_TABLE.c.created_at).limit(limit)
    )
    in_batch = ctid == func.any(func.array(old.scalar_subquery()))
    return await count_deleted(session, delete(_TABLE).where(in_batch))
