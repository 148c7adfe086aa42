"""Verification of what proves a second factor: a code, a recovery code, or a passkey."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.authentication.commands import record_change
from services.users.authentication.recovery_codes import use_recovery_code
from services.users.encryption import Encryption
from services.users.models.second_factors import Totp
from services.users.models.sessions import AuthenticationMethod
from services.users.passkeys.commands import use_passkey
from services.users.passkeys.relying_party import RelyingParty
from services.users.second_factors.codes import delay_after, matching_step
from services.users.second_factors.schemas import SecondFactor, StepUp
from services.users.security_record.commands import ANONYMOUS, Origin, append
from shared.errors import TooManyRequests


class TooManyCodes(TooManyRequests):
    """There were too many wrong codes. A passkey or a recovery code is still accepted."""

    code = "too_many_codes"


@dataclass(frozen=True)
class Verifier:
    """Verifies second factors, with the settings that it takes."""

    encryption: Encryption
    party: RelyingParty

    async def verify(
        self, session: AsyncSession, body: SecondFactor | StepUp, *, user_id: UUID, origin: Origin
    ) -> AuthenticationMethod | None:
        """Return the method that a body proves; None if it proves nothing.

        The caller must commit None too, because failures are recorded and counted. Raises: TooManyCodes.
        """
        if "passkey" in body.proofs:
            credential = body.passkey.json_object()
            passkey = await use_passkey(
                session, party=self.party, credential=credential, origin=origin, user_id=user_id
            )
            return "hwk" if passkey else None
        if "recovery_code" in body.proofs:
            code = body.recovery_code.get_secret_value()
            return await _use_recovery_code(session, code, user_id=user_id, origin=origin)
        return await self._use_code(session, body.code, user_id=user_id, origin=origin)

    async def _use_code(
        self, session: AsyncSession, code: str, *, user_id: UUID, origin: Origin
    ) -> AuthenticationMethod | None:
        totp, remaining = await _locked_totp(session, user_id)
        if totp is None:
            return None
        if remaining > timedelta(0):
            raise TooManyCodes(retry_after=remaining)
        secret = self.encryption.decrypt(totp.encrypted_secret).decode()
        step = matching_step(secret, code, at=time.time(), after=totp.last_used_step)
        if step is None:
            wrong_codes = totp.wrong_codes + 1
            await session.execute(
                sa.update(Totp)
                .where(Totp.user_id == user_id)
                .values(wrong_codes=wrong_codes, blocked_until=sa.func.now() + delay_after(wrong_codes))
            )
            await _record_failure(session, "otp", user_id=user_id, origin=origin)
            return None
        totp.last_used_step, totp.wrong_codes, totp.blocked_until = step, 0, None
        return "otp"


async def _locked_totp(session: AsyncSession, user_id: UUID) -> tuple[Totp | None, timedelta]:
    """Lock the confirmed authenticator app of an account, and return it with the time until codes are checked again."""
    remaining = Totp.blocked_until - sa.func.clock_timestamp()
    row = (
        await session.execute(
            sa.select(Totp, sa.type_coerce(sa.func.coalesce(remaining, sa.text("interval '0'")), sa.Interval()))
            .where(Totp.user_id == user_id, Totp.confirmed_at.is_not(None))
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    return (row[0], row[1]) if row else (None, timedelta(0))


async def _use_recovery_code(
    session: AsyncSession, code: str, *, user_id: UUID, origin: Origin
) -> AuthenticationMethod | None:
    if not await use_recovery_code(session, user_id=user_id, code=code):
        await _record_failure(session, "rc", user_id=user_id, origin=origin)
        return None
    await record_change(session, user_id=user_id, change="recovery_code_used", origin=origin)
    return "rc"


async def _record_failure(
    session: AsyncSession, method: AuthenticationMethod, *, user_id: UUID, origin: Origin
) -> None:
    details: dict[str, Any] = {"method": method}
    await append(session, "sign_in_failed", user_id=user_id, actor=ANONYMOUS, origin=origin, details=details)
