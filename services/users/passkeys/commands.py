"""Commands of passkeys: register, use, rename, remove."""

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.structs import AuthenticatorTransport

from services.users.authentication.commands import (
    apply_change,
    first_recovery_codes,
    lock_account,
    renew_authentication,
)
from services.users.models.second_factors import Passkey, PasskeyUser
from services.users.passkeys.challenges import create_passkey_challenge, take_passkey_challenge
from services.users.passkeys.queries import passkey_of, passkeys_of
from services.users.passkeys.relying_party import (
    Assertion,
    Credential,
    CredentialInvalid,
    NewCredential,
    RelyingParty,
    challenge_of,
)
from services.users.security_record.commands import ANONYMOUS, Origin, append
from shared.errors import Conflict, Problem
from shared.http.auth import Permit
from shared.ids import new_id

MAX_PASSKEYS = 20
"""Passkeys of an account. Their ids are all sent when another one is registered."""
_HANDLE_BYTES = 64
_TRANSPORTS = frozenset(transport.value for transport in AuthenticatorTransport)

logger = structlog.get_logger(__name__)


class RegistrationInvalid(Problem):
    """The credential is invalid, or its challenge was answered before or has expired."""

    status = 422
    code = "passkey_registration_invalid"


class PasskeyExists(Conflict):
    """The passkey is registered already."""

    code = "passkey_exists"


class TooManyPasskeys(Conflict):
    """The account has the largest possible number of passkeys."""

    code = "too_many_passkeys"


@dataclass(frozen=True)
class Registered:
    """A new passkey, and the recovery codes that come with the first second factor."""

    passkey: Passkey
    recovery_codes: list[str] | None


async def creation_options(session: AsyncSession, *, party: RelyingParty, user_id: UUID) -> dict[str, Any]:
    """Create a challenge, and return the options to register a passkey. Raises: SessionEnded, TooManyPasskeys."""
    account = await lock_account(session, user_id)
    return party.creation_options(
        challenge=await create_passkey_challenge(session, user_id=user_id),
        handle=await _handle_of(session, user_id),
        email=account.email,
        name=account.name,
        existing=await _existing(session, user_id),
    )


async def request_options(session: AsyncSession, *, party: RelyingParty) -> dict[str, Any]:
    """Create a challenge, and return the options to authenticate with a passkey of any account."""
    return party.request_options(challenge=await create_passkey_challenge(session, user_id=None))


async def register_passkey(
    session: AsyncSession,
    *,
    party: RelyingParty,
    user_id: UUID,
    session_id: UUID,
    credential: Credential,
    name: str,
    origin: Origin,
) -> Registered:
    """Store a passkey. The session counts as authenticated by it, as its user was verified.

    Raises: SessionEnded, RegistrationInvalid, TooManyPasskeys, PasskeyExists.
    """
    await lock_account(session, user_id)
    await _existing(session, user_id)
    try:
        challenge = challenge_of(credential)
        if not await take_passkey_challenge(session, challenge=challenge, user_id=user_id):
            raise RegistrationInvalid
        verified = party.verify_registration(credential, challenge=challenge)
    except CredentialInvalid as error:
        raise RegistrationInvalid from error
    passkey = await _insert(
        session, verified, user_id=user_id, name=name, transports=credential["response"].get("transports", [])
    )
    recovery_codes = await first_recovery_codes(session, user_id=user_id)
    await apply_change(session, user_id=user_id, change="passkey_added", origin=origin, details={"id": str(passkey.id)})
    await renew_authentication(session, session_id=session_id, user_id=user_id, method="hwk")
    return Registered(passkey, recovery_codes)


async def use_passkey(
    session: AsyncSession, *, party: RelyingParty, credential: Credential, origin: Origin, user_id: UUID | None = None
) -> Passkey | None:
    """Verify an assertion, and return its passkey; None if it proves nothing. Locks the passkey.

    `user_id`: the only account whose passkeys are accepted. The caller must commit None too: a failure is recorded.
    """
    passkey = await _asserted(session, credential, user_id=user_id)
    if passkey is None:
        return None
    try:
        challenge = challenge_of(credential)
        if not await take_passkey_challenge(session, challenge=challenge, user_id=None):
            return None
        assertion = party.verify_assertion(credential, challenge=challenge, passkey=passkey)
    except CredentialInvalid:
        await _record_failure(session, passkey, reason="invalid", origin=origin)
        return None
    if _is_copy(passkey, assertion):
        logger.warning("passkey_copied", user_id=str(passkey.user_id), passkey_id=str(passkey.id))
        await _record_failure(session, passkey, reason="sign_count", origin=origin)
        return None
    await session.execute(
        sa.update(Passkey)
        .where(Passkey.id == passkey.id)
        .values(sign_count=assertion.sign_count, backed_up=assertion.backed_up, last_used_at=sa.func.now())
    )
    return passkey


async def rename_passkey(session: AsyncSession, *, passkey_id: UUID, permit: Permit, name: str) -> Passkey:
    """Set the name of a passkey. Raises: PasskeyNotFound, or the denial of the permit."""
    passkey = await passkey_of(session, passkey_id=passkey_id, permit=permit)
    passkey.name = name
    return passkey


async def remove_passkey(session: AsyncSession, *, passkey_id: UUID, permit: Permit, origin: Origin) -> None:
    """Delete a passkey. Raises: SessionEnded, PasskeyNotFound, LastWayIn, or the denial of the permit."""
    await lock_account(session, permit.user_id)
    await session.delete(await passkey_of(session, passkey_id=passkey_id, permit=permit))
    await session.flush()  # before the account's methods are counted
    await apply_change(
        session, user_id=permit.user_id, change="passkey_removed", origin=origin, details={"id": str(passkey_id)}
    )


async def _existing(session: AsyncSession, user_id: UUID) -> list[Passkey]:
    passkeys = list(await session.scalars(passkeys_of(user_id)))
    if len(passkeys) >= MAX_PASSKEYS:
        raise TooManyPasskeys
    return passkeys


async def _handle_of(session: AsyncSession, user_id: UUID) -> bytes:
    """Return the user handle of a locked account; make one at the first registration."""
    known = await session.scalar(sa.select(PasskeyUser.handle).where(PasskeyUser.user_id == user_id))
    if known is not None:
        return known
    handle = secrets.token_bytes(_HANDLE_BYTES)
    await session.execute(sa.insert(PasskeyUser).values(user_id=user_id, handle=handle))
    return handle


async def _insert(
    session: AsyncSession, verified: NewCredential, *, user_id: UUID, name: str, transports: list[str]
) -> Passkey:
    created = (
        insert(Passkey)
        .values(
            id=new_id(),
            user_id=user_id,
            credential_id=verified.credential_id,
            public_key=verified.public_key,
            sign_count=verified.sign_count,
            transports=sorted(_TRANSPORTS.intersection(transports)),
            authenticator_id=verified.authenticator_id,
            backup_eligible=verified.backup_eligible,
            backed_up=verified.backed_up,
            name=name,
        )
        .on_conflict_do_nothing(index_elements=[Passkey.credential_id])
        .returning(Passkey)
    )
    passkey = await session.scalar(created)
    if passkey is None:
        raise PasskeyExists
    return passkey


async def _asserted(session: AsyncSession, credential: Credential, *, user_id: UUID | None) -> Passkey | None:
    """Lock and return the passkey that an assertion names, if the user handle is that of its account.

    An authenticator may leave out the handle only where the account is known.
    """
    try:
        credential_id = base64url_to_bytes(credential["rawId"])
        given = credential["response"].get("userHandle")
        handle = base64url_to_bytes(given) if given else None
    except ValueError:
        return None
    row = (
        await session.execute(
            sa.select(Passkey, PasskeyUser.handle)
            .join(PasskeyUser, PasskeyUser.user_id == Passkey.user_id)
            .where(Passkey.credential_id == credential_id)
            .with_for_update(of=Passkey)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if row is None or (user_id is not None and row.Passkey.user_id != user_id):
        return None
    is_known = handle == row.handle if handle is not None else user_id is not None
    return row.Passkey if is_known else None


def _is_copy(passkey: Passkey, assertion: Assertion) -> bool:
    """Return whether the counter did not grow, so that a second authenticator must have the same key.

    Source: step 22 of "Verifying an Authentication Assertion" in Web Authentication Level 3. Synchronised passkeys
    always count 0.
    """
    counts = assertion.sign_count or passkey.sign_count
    return bool(counts) and assertion.sign_count <= passkey.sign_count


async def _record_failure(session: AsyncSession, passkey: Passkey, *, reason: str, origin: Origin) -> None:
    details = {"method": "hwk", "passkey_id": str(passkey.id), "reason": reason}
    await append(session, "sign_in_failed", user_id=passkey.user_id, actor=ANONYMOUS, origin=origin, details=details)
