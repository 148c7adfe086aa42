"""Composition of credentials: all that their dependencies find in `app.state`."""

from datetime import timedelta

from starlette.datastructures import State

from services.users.credentials.breached_passwords import BreachedPasswords
from services.users.credentials.failed_sign_ins import FailedSignIns
from services.users.credentials.growing_delay import GrowingDelays
from services.users.credentials.limits import CredentialLimits, limits_of
from services.users.credentials.passwords import Passwords
from services.users.credentials.policy import PasswordPolicy
from services.users.credentials.throttling import SignInDelays, SignInThrottle
from services.users.settings import Settings


def add_credentials(state: State, settings: Settings) -> None:
    """Add passwords, their policy, delays and limits to the state, which has the cache. Raises: FilterInvalid."""
    state.passwords = Passwords(
        concurrency=settings.password_hashing_concurrency, max_waiting=settings.password_hashing_max_waiting
    )
    state.password_policy = password_policy(settings)
    state.growing_delays = GrowingDelays(state.cache)
    state.sign_in_throttle = SignInThrottle(
        state.growing_delays,
        limits=SignInDelays(
            free_failures=settings.sign_in_free_failures,
            free_failures_per_account=settings.sign_in_free_failures_per_account,
            free_failures_per_host=settings.sign_in_free_failures_per_host,
            max_delay=timedelta(seconds=settings.sign_in_max_delay_seconds),
            max_delay_per_account=timedelta(seconds=settings.sign_in_max_delay_seconds_per_account),
            remembered=timedelta(minutes=settings.sign_in_failures_minutes),
        ),
    )
    state.failed_sign_ins = FailedSignIns()
    state.credential_limits = CredentialLimits(state.rate_limiter, limits_of(settings))


def password_policy(settings: Settings) -> PasswordPolicy:
    """Return the policy that the settings name. Raises: FilterInvalid."""
    breached = BreachedPasswords.load(settings.breached_passwords_file)
    return PasswordPolicy(breached, min_strength=settings.password_min_strength)
