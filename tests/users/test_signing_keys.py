"""Signing keys: the first one, rotation, withdrawal, purge, and what a process does without the database."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from services.users import jobs
from services.users.encryption import Encryption
from services.users.models.sessions import SigningKey
from services.users.sessions.key_ring import MAX_AGE_SECONDS, KeyRing, SigningKeyUnreadable
from services.users.sessions.signing_keys import RotationInProgress, SigningKeyNotFound, generate_key
from shared.database import open_database
from shared.health import Unhealthy
from tests.users.service import UsersService
from tests.users.signing_keys import rotated, states, withdrawn

AT_ONCE = timedelta(0)
OVERLAP = timedelta(minutes=20)


def another_process(service: UsersService) -> KeyRing:
    """Return the keys as another process reads them now."""
    return KeyRing(lambda: service.sessions, encryption=service.app.state.encryption)


async def signing(service: UsersService) -> str:
    """Return the id of the key that signs now."""
    return str((await another_process(service).signing_key()).kid)


async def test_the_first_key_is_made_when_it_is_needed(service: UsersService) -> None:
    assert await states(service) == {}

    response = await service.http.get("/.well-known/jwks.json")

    [key] = response.json()["keys"]
    assert await states(service) == {key["kid"]: "signing"}
    assert response.headers["cache-control"] == "public, max-age=300"
    assert key == {"kty": "OKP", "crv": "Ed25519", "x": key["x"], "kid": key["kid"], "use": "sig", "alg": "EdDSA"}


async def test_of_processes_that_start_at_once_one_makes_the_first_key(service: UsersService) -> None:
    keys = await asyncio.gather(*(another_process(service).signing_key() for _ in range(4)))

    assert len({key.kid for key in keys}) == 1
    assert list((await states(service)).values()) == ["signing"]


def test_no_key_id_looks_like_an_option() -> None:
    assert not [kid for kid, _ in (generate_key() for _ in range(1000)) if kid.startswith("-")]


async def test_the_private_key_is_stored_encrypted(service: UsersService) -> None:
    key = await another_process(service).signing_key()
    async with service.sessions() as session:
        stored = (await session.scalars(sa.select(SigningKey.private_key))).one()
    assert stored is not None
    assert service.app.state.encryption.decrypt(stored) == key.private_key.private_bytes_raw()  # type: ignore[union-attr]


async def test_a_new_key_is_published_before_it_signs(service: UsersService) -> None:
    old = await signing(service)

    new = await rotated(service, overlap=OVERLAP)

    assert await states(service) == {new.kid: "published", old: "signing"}
    process = another_process(service)
    assert (await process.signing_key()).kid == old
    assert [key.kid for key in await process.published_keys()] == [new.kid, old]

    await service.shift(SigningKey.signs_from, by=OVERLAP)
    process = another_process(service)
    assert (await process.signing_key()).kid == new.kid
    assert await states(service) == {new.kid: "signing", old: "verifying"}
    assert await service.recorded("signing_keys_rotated") == [{"new_key": new.kid}]


async def test_a_rotation_waits_for_the_last_one_except_in_an_emergency(service: UsersService) -> None:
    old = await signing(service)
    waiting = await rotated(service, overlap=OVERLAP)

    with pytest.raises(RotationInProgress, match=waiting.kid):
        await rotated(service, overlap=OVERLAP)
    new = await rotated(service, overlap=AT_ONCE)

    assert await states(service) == {new.kid: "signing", old: "verifying"}


async def test_a_withdrawn_key_that_signed_is_replaced_at_once(service: UsersService) -> None:
    old = await signing(service)

    new = await withdrawn(service, old)

    assert new is not None
    assert await states(service) == {new.kid: "signing", old: "withdrawn"}
    assert await withdrawn(service, old) is None
    async with service.sessions() as session:
        query = sa.select(SigningKey.private_key).where(SigningKey.kid == old)
        assert (await session.scalars(query)).one() is None
    with pytest.raises(SigningKeyNotFound):
        await withdrawn(service, "unknown")


async def test_a_withdrawn_key_that_waits_to_sign_leaves_the_present_one(service: UsersService) -> None:
    old = await signing(service)
    waiting = await rotated(service, overlap=OVERLAP)

    assert await withdrawn(service, waiting.kid) is None

    await service.shift(SigningKey.signs_from, by=OVERLAP)
    assert await signing(service) == old


async def test_keys_are_purged_when_their_last_token_has_expired(service: UsersService) -> None:
    oldest = await signing(service)
    old = (await rotated(service, overlap=AT_ONCE)).kid
    await service.shift(SigningKey.signs_from, by=jobs.MAX_TOKEN_LIFETIME)
    stolen = (await rotated(service, overlap=AT_ONCE)).kid
    new = await withdrawn(service, stolen)

    await jobs.purge_signing_keys(service.sessions)
    assert new is not None
    assert await states(service) == {new.kid: "signing", stolen: "withdrawn", old: "verifying"}
    assert oldest not in await states(service)

    await service.shift(SigningKey.signs_from, by=timedelta(days=2))
    await service.shift(SigningKey.withdrawn_at, by=timedelta(days=2))
    await jobs.purge_signing_keys(service.sessions)
    assert await states(service) == {new.kid: "signing"}


async def test_without_the_database_a_process_uses_the_keys_that_it_knows(service: UsersService) -> None:
    away = open_database("postgresql://nobody@127.0.0.1:1/nothing", service="users", pool_size=1)
    databases = [service.sessions]
    ring = KeyRing(lambda: databases[-1], encryption=service.app.state.encryption)
    known = await ring.signing_key()

    databases.append(away.sessions)
    await asyncio.sleep(MAX_AGE_SECONDS)

    assert await ring.signing_key() is known
    with pytest.raises(OSError, match="Connect call failed"):
        await KeyRing(lambda: databases[-1], encryption=service.app.state.encryption).signing_key()
    await away.close()


async def test_a_key_that_cannot_be_decrypted_fails_the_health_check(service: UsersService) -> None:
    await another_process(service).signing_key()
    ring = KeyRing(lambda: service.sessions, encryption=Encryption(MultiFernet([Fernet(Fernet.generate_key())])))

    with pytest.raises(SigningKeyUnreadable):
        await ring.signing_key()
    with pytest.raises(Unhealthy, match="the signing key cannot be decrypted"):
        await ring.check()
