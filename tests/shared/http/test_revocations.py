"""The list of revoked sessions: when it is read, who waits for it, and what happens while it cannot be read."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from shared.health import Unhealthy
from shared.http.revocations import MAX_AGE, MIN_READ_INTERVAL, READ_TIMEOUT, RevocationList, Revocations
from shared.http.tokens import TokenInvalid, TokenRevoked, TokenVerifier
from tests.harness.waiting import until
from tests.shared.http.token_issuer import TokenIssuer


class Source:
    """The revocations of a users service, which may be away or hang."""

    def __init__(self) -> None:
        self.sessions: dict[UUID, datetime] = {}
        self.withdrawn_keys: set[str] = set()
        self.asked: list[datetime | None] = []
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    def revoke(self, session_id: UUID, *, expires_in: timedelta = timedelta(minutes=15)) -> None:
        self.sessions[session_id] = datetime.now(UTC) + expires_in

    async def read(self, since: datetime | None) -> Revocations:
        self.asked.append(since)
        now, sessions, keys = datetime.now(UTC), dict(self.sessions), frozenset(self.withdrawn_keys)
        await self.gate.wait()
        if self.is_away:
            raise OSError("the users service is away")
        return Revocations(as_of=now, sessions=sessions, withdrawn_keys=keys)


@pytest.fixture
def source() -> Source:
    return Source()


def quick(source: Source, **changes: timedelta) -> RevocationList:
    """Return a list that reads ten times as often as usual, and gives up ten times as soon."""
    times = {"min_read_interval": MIN_READ_INTERVAL, "max_age": MAX_AGE, "read_timeout": READ_TIMEOUT}
    return RevocationList(source.read, **{name: time / 10 for name, time in times.items()} | changes)


async def pass_time(time: timedelta) -> None:
    """Let a bit more than a tenth of the time pass."""
    await asyncio.sleep(0.11 * time.total_seconds())


async def test_the_first_verification_waits_for_the_list(source: Source, issuer: TokenIssuer) -> None:
    session_id = uuid4()
    source.revoke(session_id)
    verifier = TokenVerifier(issuer.published, issuer="orderly", revocations=RevocationList(source.read))

    with pytest.raises(TokenRevoked):
        await verifier.verify(issuer.token(sid=str(session_id)))
    await verifier.verify(issuer.token())


async def test_a_verified_token_is_refused_within_the_age_of_the_list(source: Source, issuer: TokenIssuer) -> None:
    session_id = uuid4()
    token = issuer.token(sid=str(session_id))
    verifier = TokenVerifier(issuer.published, issuer="orderly", revocations=quick(source))
    await verifier.verify(token)
    source.revoke(session_id)
    revoked_at = time.monotonic()

    with pytest.raises(TokenRevoked):
        while True:
            await verifier.verify(token)
            assert time.monotonic() < revoked_at + MAX_AGE.total_seconds()
            await asyncio.sleep(0.005)


async def test_a_verification_after_an_idle_time_waits_for_a_new_list(source: Source) -> None:
    revoked = quick(source)
    await revoked.refresh()
    session_id = uuid4()
    source.revoke(session_id)
    await pass_time(MAX_AGE)

    await asyncio.gather(*(revoked.refresh() for _ in range(20)))

    assert revoked.is_revoked(session_id)
    assert len(source.asked) == 2


async def test_a_list_that_is_not_too_old_is_used_while_it_is_read_anew(source: Source) -> None:
    revoked = quick(source)
    await revoked.refresh()
    await pass_time(MIN_READ_INTERVAL)
    source.gate.clear()

    async with asyncio.timeout(5):
        while len(source.asked) < 2:
            await revoked.refresh()
            await asyncio.sleep(0)
        await revoked.refresh()

    await revoked.close()


async def test_nothing_is_read_without_verifications(source: Source) -> None:
    revoked = quick(source)
    await revoked.refresh()
    await pass_time(2 * MAX_AGE)
    assert len(source.asked) == 1


async def test_each_read_goes_back_thirty_seconds_before_the_last_one(source: Source) -> None:
    revoked = quick(source)
    began_at = datetime.now(UTC)
    await revoked.refresh()
    await pass_time(MAX_AGE)
    await revoked.refresh()

    first, second = source.asked
    assert first is None
    assert second is not None
    assert timedelta(0) <= second - (began_at - timedelta(seconds=30)) < timedelta(seconds=5)


async def test_entries_are_dropped_when_their_tokens_have_expired(source: Source) -> None:
    revoked, short, long = quick(source, clock_margin=timedelta(0)), uuid4(), uuid4()
    source.revoke(short, expires_in=timedelta(seconds=0.2))
    source.revoke(long)
    await revoked.refresh()
    assert revoked.is_revoked(short)
    source.sessions.clear()

    async def is_dropped() -> bool:
        await revoked.refresh()
        return not revoked.is_revoked(short)

    await until(is_dropped, seconds=10)
    assert revoked.is_revoked(long)


async def test_while_the_list_cannot_be_read_the_known_one_is_used(source: Source, issuer: TokenIssuer) -> None:
    session_id = uuid4()
    source.revoke(session_id)
    revoked = quick(source)
    verifier = TokenVerifier(issuer.published, issuer="orderly", revocations=revoked)
    await verifier.verify(issuer.token())
    await verifier.check()
    source.is_away = True
    await pass_time(MAX_AGE)

    await verifier.verify(issuer.token())
    with pytest.raises(TokenRevoked):
        await verifier.verify(issuer.token(sid=str(session_id)))
    with pytest.raises(Unhealthy, match="the revoked sessions cannot be read"):
        await verifier.check()

    source.is_away = False

    async def is_healthy() -> bool:
        try:
            await verifier.check()
        except Unhealthy:
            return False
        return True

    await until(is_healthy, seconds=10)


async def test_a_source_that_hangs_delays_no_verification_but_the_first(source: Source) -> None:
    revoked = quick(source)
    source.gate.clear()
    await revoked.refresh()  # waits until the time-out

    began_at = time.monotonic()
    for _ in range(100):
        await revoked.refresh()
    assert time.monotonic() - began_at < READ_TIMEOUT.total_seconds() / 10
    await revoked.close()


async def test_tokens_of_a_withdrawn_key_are_invalid(source: Source, issuer: TokenIssuer) -> None:
    verifier = TokenVerifier(issuer.published, issuer="orderly", revocations=quick(source))
    source.withdrawn_keys.add("first")
    with pytest.raises(TokenInvalid):
        await verifier.verify(issuer.token())
