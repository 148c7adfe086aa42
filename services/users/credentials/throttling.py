"""Throttling of password guessing: growing delays by account, network and device."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from services.users.credentials.growing_delay import CountedKey, GrowingDelay, GrowingDelays
from services.users.credentials.networks import ClientNetworks

SITE_FACTOR = 4
"""A site (a /24, or a /48 of IPv6) has so many times the free failures of one host."""


@dataclass(frozen=True, kw_only=True)
class SignInDelays:
    """The bounds of failed sign-ins. See `Settings` for what each one means."""

    free_failures: int
    free_failures_per_account: int
    free_failures_per_host: int
    max_delay: timedelta
    max_delay_per_account: timedelta
    remembered: timedelta


class SignInThrottle:
    """Delays attempts to sign in after failures.

    Failures are counted on the account at one host, on the account everywhere, on the host, and on its site. The delays
    that other people's guesses cause never apply to a device from which the account has signed in before: its failures
    are counted apart. So guessing at an account delays its user on new devices only, and locks nobody out. Passkeys are
    not throttled: they can't be guessed.

    Where one address stands for many clients, failures are counted on the account alone.
    """

    def __init__(self, delays: GrowingDelays, *, limits: SignInDelays) -> None:
        self._delays = delays
        free, per_account, per_host = (
            limits.free_failures,
            limits.free_failures_per_account,
            limits.free_failures_per_host,
        )
        longest, remembered = limits.max_delay, limits.remembered
        self._device = GrowingDelay("sign-in-device", free, longest, remembered)
        self._pair = GrowingDelay("sign-in-account-and-host", free, longest, remembered)
        self._account = GrowingDelay("sign-in-account", per_account, limits.max_delay_per_account, remembered)
        self._host = GrowingDelay("sign-in-host", per_host, longest, remembered)
        self._site = GrowingDelay("sign-in-site", SITE_FACTOR * per_host, longest, remembered)

    @asynccontextmanager
    async def attempt(
        self,
        *,
        account: UUID | str,
        networks: ClientNetworks,
        device_id: UUID | None = None,
        failure: type[Exception],
    ) -> AsyncIterator[None]:
        """Count one attempt, which stays counted only if it ends in a `failure`. Raises: TooManyAttempts.

        `account`: the id of the account that was found; without one, the address as PostgreSQL's lower() returns it, so
        that both are counted alike. `device_id`: the known device of this account from which the request comes.
        """
        counted = self._counted(account, networks, device_id=device_id)
        async with self._delays.attempt(counted, failure=failure):
            yield

    def _counted(
        self, account: UUID | str, networks: ClientNetworks, *, device_id: UUID | None
    ) -> Sequence[CountedKey]:
        if device_id is not None:
            return [self._device.of(account, device_id, resets=True)]
        if networks.is_shared:
            return [self._account.of(account)]
        return [
            self._pair.of(account, networks.host, resets=True),
            self._account.of(account),
            self._host.of(networks.host),
            self._site.of(networks.site),
        ]
