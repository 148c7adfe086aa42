"""Guessing at passwords: growing delays by account, host and device, which lock nobody out."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from services.users import jobs
from services.users.credentials.authentication import CredentialsInvalid
from services.users.credentials.devices import COOKIE, MAX_KNOWN_DEVICES
from services.users.credentials.growing_delay import GrowingDelay, GrowingDelays, TooManyAttempts
from services.users.credentials.networks import networks_of
from services.users.models.credentials import KnownDevice
from tests.harness.asgi import client_of
from tests.harness.problems import problem
from tests.users.second_factors import User
from tests.users.service import ADA, PASSWORD, UsersService

HOME, ELSEWHERE = "192.0.2.1", "203.0.113.1"
GUESS = "wrong password"
RIGHT, WRONG, DELAYED = "signed in", "credentials_invalid", "too_many_attempts"


async def send(
    service: UsersService, password: str, *, address: str = HOME, email: str = ADA["email"], device: str | None = None
) -> httpx2.Response:
    """Sign in from an address, with the cookie of a device or without one."""
    headers = {"Cookie": f"{COOKIE}={device}"} if device else None
    async with client_of(service.app, address=address) as http:
        return await http.post("/v1/sessions", json={"email": email, "password": password}, headers=headers)


async def attempt(service: UsersService, password: str = GUESS, **where: Any) -> str:
    response = await send(service, password, **where)
    return str(response.json().get("code", RIGHT))


async def known_device(service: UsersService, **where: Any) -> str:
    """Sign in, and return the token that the device keeps."""
    response = await send(service, PASSWORD, **where)
    return response.cookies[COOKIE]


async def wait_out(service: UsersService, seconds: float) -> None:
    """Let time pass for all counted failures."""
    client = service.app.state.cache.client
    async for key in client.scan_iter(match="*delay:*"):
        await client.hincrby(key, "last", -int(seconds * 1000))


async def test_after_the_free_failures_each_delay_is_twice_the_last(service: UsersService) -> None:
    await service.sign_up()
    assert [await attempt(service) for _ in range(4)] == [WRONG] * 3 + [DELAYED]

    delays = []
    for _ in range(11):
        response = await send(service, PASSWORD)
        delays.append(int(response.headers["retry-after"]))
        await wait_out(service, delays[-1])
        assert await attempt(service, address=HOME) == WRONG

    # The cap of the account is 60 s, and that of an account at one host 300 s.
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


async def test_the_right_password_after_a_delay_signs_in_and_ends_the_delays_of_the_host(
    service: UsersService,
) -> None:
    await service.sign_up()
    for _ in range(3):
        await attempt(service)
    assert await attempt(service, PASSWORD) == DELAYED
    await wait_out(service, 1)

    assert await attempt(service, PASSWORD) == RIGHT
    assert [await attempt(service) for _ in range(3)] == [WRONG, WRONG, DELAYED]  # the account has five everywhere


async def test_simultaneous_guesses_do_not_exceed_the_free_failures(service: UsersService) -> None:
    await service.sign_up()

    codes = await asyncio.gather(*(attempt(service) for _ in range(6)))

    assert sorted(codes) == [WRONG] * 3 + [DELAYED] * 3


async def test_guesses_from_everywhere_do_not_delay_a_known_device(service: UsersService) -> None:
    await service.sign_up()
    device = await known_device(service)

    guesses = [await attempt(service, address=f"198.51.{n}.1") for n in range(7)]
    await wait_out(service, -60)  # the delay outlasts the sign-ins below, however slow the machine is

    assert guesses == [WRONG] * 5 + [DELAYED] * 2
    assert await attempt(service, PASSWORD, device=device) == RIGHT
    assert await attempt(service, PASSWORD, device=device, address=ELSEWHERE) == RIGHT
    assert await attempt(service, PASSWORD) == DELAYED  # a known address alone proves nothing
    assert await attempt(service, PASSWORD, device="x" * 43) == DELAYED


async def test_the_delay_of_an_account_from_everywhere_stays_short(service: UsersService) -> None:
    await service.sign_up()
    for number in range(30):
        await attempt(service, address=f"198.51.{number}.1")
        await wait_out(service, 60)
    assert await attempt(service, address="198.51.90.1") == WRONG

    response = await send(service, PASSWORD, address=ELSEWHERE)

    assert 50 <= int(response.headers["retry-after"]) <= 60


async def test_failures_on_a_known_device_are_counted_apart(service: UsersService) -> None:
    await service.sign_up()
    first, second = await known_device(service), await known_device(service)

    assert [await attempt(service, device=first) for _ in range(4)] == [WRONG] * 3 + [DELAYED]

    assert await attempt(service, PASSWORD, device=second) == RIGHT
    assert await attempt(service, PASSWORD) == RIGHT


async def test_a_device_is_known_to_one_account_only(service: UsersService) -> None:
    await service.sign_up()
    await service.sign_up(email="mallory@orderly.example")
    device = await known_device(service, email="mallory@orderly.example")
    for number in range(5):
        await attempt(service, address=f"198.51.{number}.1")

    assert await attempt(service, PASSWORD, device=device) == DELAYED


async def test_guesses_at_many_accounts_delay_their_host_but_no_known_device(service: UsersService) -> None:
    await service.sign_up()
    device = await known_device(service)
    guesses = [await attempt(service, email=f"user{number}@orderly.example") for number in range(7)]

    assert guesses == [WRONG] * 6 + [DELAYED]
    assert await attempt(service, PASSWORD) == DELAYED
    assert await attempt(service, PASSWORD, device=device) == RIGHT
    assert await attempt(service, PASSWORD, address=ELSEWHERE) == RIGHT


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:db8:9:1::1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.3.1"),
    ],
)
async def test_a_host_is_an_ipv4_address_or_a_64_of_ipv6(
    service: UsersService, first: str, same: str, other: str
) -> None:
    for number in range(6):
        await attempt(service, email=f"user{number}@orderly.example", address=first)

    assert await attempt(service, email="one@orderly.example", address=same) == DELAYED
    assert await attempt(service, email="one@orderly.example", address=other) == WRONG


async def test_guesses_from_many_hosts_of_one_site_delay_the_site(service: UsersService) -> None:
    for number in range(24):
        await attempt(service, email=f"user{number}@orderly.example", address=f"192.0.2.{number}")

    assert await attempt(service, email="one@orderly.example", address="192.0.2.200") == DELAYED
    assert await attempt(service, email="one@orderly.example", address="192.0.3.200") == WRONG


async def test_where_many_clients_share_an_address_only_accounts_are_counted(service: UsersService) -> None:
    await service.sign_up()
    for number in range(8):
        assert await attempt(service, email=f"user{number}@orderly.example", address="172.18.0.1") == WRONG

    assert [await attempt(service, address="172.18.0.1") for _ in range(6)] == [WRONG] * 5 + [DELAYED]
    assert await attempt(service, email="other@orderly.example", address="172.18.0.1") == WRONG


async def test_a_delayed_host_does_not_delay_accounts(service: UsersService) -> None:
    await service.sign_up()
    for number in range(6):
        await attempt(service, email=f"user{number}@orderly.example")
    assert [await attempt(service) for _ in range(8)] == [DELAYED] * 8

    assert [await attempt(service, address=ELSEWHERE) for _ in range(3)] == [WRONG] * 3


@pytest.mark.parametrize("email", ["admin@orderly.example", "nobody@orderly.example"])
async def test_spellings_that_the_database_takes_for_one_address_are_counted_together(
    service: UsersService, email: str
) -> None:
    # PostgreSQL's lower() maps İ to i; Python's casefold() maps it to two characters.
    await service.sign_up(email="admin@orderly.example")
    local, _, domain = email.partition("@")
    spellings = [email, email.upper(), f"{local.replace('i', 'İ').replace('o', 'O')}@{domain}"]
    assert [await attempt(service, email=spelling) for spelling in spellings] == [WRONG] * 3

    assert [await attempt(service, email=spelling) for spelling in spellings] == [DELAYED] * 3


async def test_right_passwords_are_not_counted(service: UsersService) -> None:
    await service.sign_up()

    assert [await attempt(service, PASSWORD) for _ in range(8)] == [RIGHT] * 8


async def test_an_error_of_ours_and_a_cancelled_request_do_not_count(service: UsersService) -> None:
    throttle = service.app.state.sign_in_throttle
    where = {"account": "ada", "networks": networks_of(HOME), "failure": CredentialsInvalid}
    for error in [OSError("the database is away"), asyncio.CancelledError()] * 4:
        with pytest.raises(type(error)):
            async with throttle.attempt(**where):
                raise error

    async with throttle.attempt(**where):
        pass


async def test_a_passkey_passes_the_delays_that_others_have_caused(ada: User) -> None:
    authenticator = await ada.add_passkey()
    for _ in range(3):
        await ada.service.http.post("/v1/sessions", json={"email": ADA["email"], "password": "wrong"})
    assert problem(await ada.sign_in()) == (429, "too_many_attempts")

    assert (await ada.sign_in_with(authenticator)).status_code == 201


async def test_a_rule_of_its_own_counts_what_a_caller_names(service: UsersService) -> None:
    delays: GrowingDelays = service.app.state.growing_delays
    codes = GrowingDelay("code", free_failures=1, max_delay=timedelta(seconds=5))
    with pytest.raises(CredentialsInvalid):
        async with delays.attempt([codes.of("ada")], failure=CredentialsInvalid):
            raise CredentialsInvalid

    with pytest.raises(TooManyAttempts):
        async with delays.attempt([codes.of("ada")], failure=CredentialsInvalid):
            pass
    async with delays.attempt([codes.of("grace")], failure=CredentialsInvalid):
        pass


async def test_failures_are_logged_with_their_network_and_nothing_personal(service: UsersService) -> None:
    user = await service.sign_up()
    with capture_logs() as logs:
        for email in (ADA["email"], "nobody@orderly.example"):
            await attempt(service, address="2001:db8:1:2::3", email=email)

    failed = [entry for entry in logs if entry["event"] == "sign_in_failed"]
    common = {"event": "sign_in_failed", "log_level": "warning", "network": "2001:db8:1::/48", "known_device": False}
    assert failed == [common | {"user_id": user["id"]}, common | {"user_id": None}]
    assert "orderly.example" not in str(logs)


async def test_a_device_keeps_a_random_token_of_which_the_hash_is_stored(service: UsersService) -> None:
    user = await service.sign_up()

    first = await send(service, PASSWORD)
    again = await send(service, PASSWORD, device=first.cookies[COOKIE])

    attributes = first.headers["set-cookie"].split("; ")[1:]
    assert attributes == ["HttpOnly", "Max-Age=15552000", "Path=/", "SameSite=lax"]
    assert "set-cookie" not in again.headers
    async with service.sessions() as session:
        [device] = list(await session.scalars(sa.select(KnownDevice)))
    assert device.user_id == UUID(user["id"])
    assert first.cookies[COOKIE].encode() not in device.token_hash
    assert device.last_seen_at > device.created_at


async def test_an_account_keeps_its_last_devices_and_expired_ones_are_purged(service: UsersService) -> None:
    user = await service.sign_up()
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text(
                "INSERT INTO known_device (id, user_id, token_hash, created_at, last_seen_at, expires_at)"
                " SELECT gen_random_uuid(), :user_id, sha256(n::text::bytea), now(), now() - n * interval '1 day',"
                " now() + interval '1 day' FROM generate_series(1, :number) AS n"
            ),
            {"user_id": user["id"], "number": MAX_KNOWN_DEVICES},
        )
    device = await known_device(service)

    async with service.sessions.begin() as session:
        kept = await session.scalar(sa.text("SELECT count(*) FROM known_device"))
        await session.execute(sa.text("UPDATE known_device SET expires_at = now() - interval '1 second'"))
    assert kept == MAX_KNOWN_DEVICES
    assert (await send(service, PASSWORD, device=device)).cookies[COOKIE] != device  # it is not known any more
    await jobs.purge_devices(service.sessions)
    async with service.sessions() as session:
        assert await session.scalar(sa.text("SELECT count(*) FROM known_device")) == 1
