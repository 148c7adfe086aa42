"""Authentication by e-mail address and password."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from fastapi import Request
from pydantic import SecretStr

from services.users.credentials import devices
from services.users.credentials.failed_sign_ins import FailedSignIns
from services.users.credentials.growing_delay import TooManyAttempts
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.metrics import SIGN_INS
from services.users.credentials.networks import ClientNetworks
from services.users.credentials.passwords import PasswordCheck, Passwords
from services.users.credentials.queries import Claimed, claimed_by
from services.users.credentials.throttling import SignInThrottle
from services.users.models.accounts import UserAccount
from services.users.security_record.commands import origin_of
from shared.database import Sessions
from shared.errors import Unauthenticated
from shared.http.disconnects import while_connected

logger = structlog.get_logger(__name__)


class CredentialsInvalid(Unauthenticated):
    """The e-mail address or the password is wrong."""

    code = "credentials_invalid"


AUTHENTICATION_PROBLEMS = (CredentialsInvalid, TooManyAttempts, HashingOverloaded)
"""The problems of a route that authenticates by password."""


@dataclass(frozen=True)
class Authenticated:
    """The account whose password was right."""

    account: UserAccount
    device_id: UUID | None
    """The known device from which the request comes. Pass it to `store_device`."""
    new_hash: str | None
    """The password's hash with newer parameters, if the stored one is outdated."""


@dataclass(frozen=True)
class PasswordAuthentication:
    """Checks the credentials of one request. Neither answer nor time tells whether an account exists."""

    request: Request
    networks: ClientNetworks
    sessions: Sessions
    passwords: Passwords
    throttle: SignInThrottle
    failures: FailedSignIns

    async def authenticate(self, *, email: str, password: SecretStr) -> Authenticated:
        """Return the account with this address and password, whatever its status.

        Every request executes the same statements, and hashes once. So do not open a transaction after a failure only
        where an account exists. A wrong password is an entry of the security record; an attempt that is delayed is
        none, since nothing bounds their number. Raises: CredentialsInvalid, TooManyAttempts, HashingOverloaded.
        """
        self.passwords.check_capacity("sign_in")
        async with self.sessions() as session:
            claimed = await claimed_by(session, email=email, device_token=devices.token_of(self.request))
        try:
            async with self.throttle.attempt(
                account=claimed.throttling_key,
                networks=self.networks,
                device_id=claimed.device_id,
                failure=CredentialsInvalid,
            ):
                check = await self._check(claimed, password)
        except TooManyAttempts:
            self._log_failure(claimed, is_delayed=True)
            raise
        except CredentialsInvalid:
            self._log_failure(claimed, is_delayed=False)
            user_id = claimed.account.id if claimed.account else None
            await self.failures.append(self.sessions, user_id=user_id, origin=origin_of(self.request))
            raise
        SIGN_INS.labels("right").inc()
        assert claimed.account is not None  # noqa: S101 - without an account, no password is right
        return Authenticated(claimed.account, claimed.device_id, check.new_hash)

    async def _check(self, claimed: Claimed, password: SecretStr) -> PasswordCheck:
        stored_hash = claimed.account.password_hash if claimed.account else None
        check = await while_connected(self.request, self.passwords.verify(password, stored_hash=stored_hash))
        if not check.is_right:
            raise CredentialsInvalid
        return check

    def _log_failure(self, claimed: Claimed, *, is_delayed: bool) -> None:
        SIGN_INS.labels("delayed" if is_delayed else "wrong").inc()
        logger.warning(
            "sign_in_delayed" if is_delayed else "sign_in_failed",
            user_id=claimed.account and str(claimed.account.id),
            network=self.networks.site,
            known_device=claimed.device_id is not None,
        )
