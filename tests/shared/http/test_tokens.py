"""Access tokens: which are valid, and how keys are fetched and replaced."""

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import KeySet, OctKey, OKPKey

from shared.http.token_keys import ALGORITHM, SIGNATURES, KeysUnavailable, PublishedKeys
from shared.http.tokens import Principal, TokenExpired, TokenInvalid, TokenVerifier
from shared.http.users_client import UsersClient
from tests.shared.http.token_issuer import TokenIssuer


async def test_a_valid_token_names_the_caller(issuer: TokenIssuer) -> None:
    user_id, session_id = uuid4(), uuid4()
    token = issuer.token("customer", "admin", user_id=user_id, sid=str(session_id))
    principal = await issuer.verifier().verify(token)
    assert principal == Principal(user_id, frozenset({"customer", "admin"}), session_id)


async def test_a_token_tells_when_and_how_its_user_authenticated(issuer: TokenIssuer) -> None:
    principal = await issuer.verifier().verify(issuer.token(auth_time=1_795_000_000, amr=["pwd", "otp"]))
    assert principal.authenticated_at == datetime(2026, 11, 18, 11, 6, 40, tzinfo=UTC)
    assert principal.methods == {"pwd", "otp"}


async def test_a_token_of_a_service_whose_clock_is_ahead_is_valid(issuer: TokenIssuer) -> None:
    ahead = int(time.time()) + 600
    principal = await issuer.verifier().verify(issuer.token("customer", iat=ahead, exp=ahead + 900))
    assert principal.roles == {"customer"}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another issuer"},
        {"iss": None},
        {"aud": "another system"},
        {"aud": None},
        {"sub": None},
        {"sub": "not a uuid"},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": int(time.time()) + 86_400},
        {"sid": "not a uuid"},
        {"roles": 7},
        {"amr": 7},
        {"auth_time": "noon"},
        {"auth_time": 10**20},
    ],
)
async def test_a_token_with_wrong_claims_is_invalid(issuer: TokenIssuer, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        await issuer.verifier().verify(issuer.token(**changes))


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "é.é.é", "e30.e30.e30", "..", "a" * 10_000])
async def test_a_malformed_token_is_invalid(issuer: TokenIssuer, text: str) -> None:
    with pytest.raises(TokenInvalid):
        await issuer.verifier().verify(text)


async def test_a_token_of_another_key_with_a_known_id_is_invalid(issuer: TokenIssuer) -> None:
    other = OKPKey.generate_key("Ed25519", {"kid": "first"})
    with pytest.raises(TokenInvalid):
        await issuer.verifier().verify(issuer.token(key=other))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "Ed25519"])
async def test_a_token_with_another_algorithm_is_invalid(issuer: TokenIssuer, algorithm: str) -> None:
    header, claims, signature = issuer.token().split(".")
    forged = (
        base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "first", "typ": "at+jwt"}).encode())
        .decode()
        .rstrip("=")
    )
    assert header != forged
    with pytest.raises(TokenInvalid):
        await issuer.verifier().verify(f"{forged}.{claims}.{signature}")


async def test_a_token_of_another_type_is_invalid(issuer: TokenIssuer) -> None:
    """Such as an ID token: what is no access token must not open anything."""
    key = issuer.keys.keys[0]
    claims = jws.extract_compact(issuer.token().encode()).payload
    for header in ({"typ": "JWT"}, {}):
        other = jws.serialize_compact({"alg": ALGORITHM, "kid": "first", **header}, claims, key, registry=SIGNATURES)
        with pytest.raises(TokenInvalid):
            await issuer.verifier().verify(other)


async def test_a_published_symmetric_key_is_not_used(issuer: TokenIssuer) -> None:
    issuer.keys = KeySet([OctKey.generate_key(256, {"kid": "first"})])
    other = OKPKey.generate_key("Ed25519", {"kid": "first"})
    with pytest.raises(TokenInvalid):
        await issuer.verifier().verify(issuer.token(key=other))


@pytest.mark.parametrize("tolerance_seconds", [5, 60])
async def test_a_token_is_valid_within_the_clock_tolerance_on_both_sides(
    issuer: TokenIssuer, tolerance_seconds: int
) -> None:
    """The issuer's clock may be behind this machine's, so that tokens expire early, or ahead of it."""
    tolerance = timedelta(seconds=tolerance_seconds)
    verifier = TokenVerifier(issuer.published, issuer="orderly", revocations=None, clock_tolerance=tolerance)
    now = int(time.time())

    await verifier.verify(issuer.token(exp=now - tolerance_seconds + 3))
    await verifier.verify(issuer.token(nbf=now + tolerance_seconds - 1))

    with pytest.raises(TokenExpired):
        await verifier.verify(issuer.token(exp=now - tolerance_seconds - 1))
    with pytest.raises(TokenInvalid):
        await verifier.verify(issuer.token(nbf=now + tolerance_seconds + 30))


async def test_a_cached_token_expires(issuer: TokenIssuer) -> None:
    verifier = TokenVerifier(issuer.published, issuer="orderly", revocations=None, clock_tolerance=timedelta(0))
    token = issuer.token(exp=int(time.time()) + 2)
    await verifier.verify(token)
    async with asyncio.timeout(60):
        with pytest.raises(TokenExpired):
            while True:
                await verifier.verify(token)
                await asyncio.sleep(0.05)


async def test_the_cache_of_tokens_is_limited(issuer: TokenIssuer) -> None:
    verifier = TokenVerifier(issuer.published, issuer="orderly", revocations=None, max_cached_tokens=3)
    for _ in range(5):
        await verifier.verify(issuer.token())
    assert len(verifier._verified) == 3


async def test_an_unknown_key_is_fetched(issuer: TokenIssuer) -> None:
    keys = PublishedKeys(issuer.published, min_fetch_interval=timedelta(0))
    assert await keys.find("second") is None
    issuer.keys = KeySet([*issuer.keys.keys, OKPKey.generate_key("Ed25519", {"kid": "second"})])
    assert await keys.find("second") is not None


async def test_invented_key_ids_do_not_cause_fetches(issuer: TokenIssuer) -> None:
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    for number in range(20):
        invented = OKPKey.generate_key("Ed25519", {"kid": f"invented {number}"})
        with pytest.raises(TokenInvalid):
            await verifier.verify(issuer.token(key=invented))
    assert issuer.fetches == 1


async def test_concurrent_first_requests_share_one_fetch(issuer: TokenIssuer) -> None:
    verifier = issuer.verifier()
    await asyncio.gather(*(verifier.verify(issuer.token()) for _ in range(20)))
    assert issuer.fetches == 1


async def test_a_cached_token_of_a_withdrawn_key_is_invalid(issuer: TokenIssuer) -> None:
    verifier = TokenVerifier(
        issuer.published, issuer="orderly", revocations=None, max_key_age=timedelta(0), min_fetch_interval=timedelta(0)
    )
    token = issuer.token()
    await verifier.verify(token)
    issuer.keys = KeySet([OKPKey.generate_key("Ed25519", {"kid": "second"})])
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)


async def test_known_keys_are_kept_after_a_failed_fetch() -> None:
    good = KeySet([OKPKey.generate_key("Ed25519", {"kid": "first"})])
    answers: list[KeySet | Exception] = [good, httpx2.ConnectError("down")]

    async def source() -> KeySet:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    keys = PublishedKeys(source, max_age=timedelta(0), min_fetch_interval=timedelta(0))
    assert await keys.find("first") is not None
    assert await keys.find("first") is not None
    assert answers == []


async def test_known_keys_are_used_while_a_fetch_is_in_progress(issuer: TokenIssuer) -> None:
    gate = asyncio.Event()
    gate.set()

    async def source() -> KeySet:
        await gate.wait()
        return issuer.keys

    keys = PublishedKeys(source, max_age=timedelta(0), min_fetch_interval=timedelta(0))
    await keys.find("first")
    gate.clear()
    refreshing = asyncio.create_task(keys.find("first"))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert await keys.find("first") is not None
    gate.set()
    assert await refreshing is not None


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [{"kty": "OKP"}]}'])
async def test_an_invalid_key_set_makes_the_keys_unavailable(issuer: TokenIssuer, answer: bytes) -> None:
    async def source() -> KeySet:
        return KeySet.import_key_set(json.loads(answer))

    with pytest.raises(KeysUnavailable):
        await TokenVerifier(source, issuer="orderly", revocations=None).verify(issuer.token())


async def test_an_unreachable_key_set_makes_the_keys_unavailable(issuer: TokenIssuer) -> None:
    closed_port = UsersClient("http://127.0.0.1:1", token="unused").key_set
    with pytest.raises(KeysUnavailable):
        await TokenVerifier(closed_port, issuer="orderly", revocations=None).verify(issuer.token())
