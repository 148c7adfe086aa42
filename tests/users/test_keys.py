"""Signing keys: what is published, and what may be in the file."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey, OKPKey

from services.users.access_tokens import AccessTokens, SigningKeysInvalid, load_signing_keys
from services.users.models import UserAccount
from shared.http.tokens import TokenInvalid, TokenVerifier
from tests.users.front_door import FrontDoor


def key(kid: str | None = None, **parameters: Any) -> dict[str, Any]:
    made = OKPKey.generate_key("Ed25519", {"kid": kid} if kid else None)
    return made.as_dict(private=True) | parameters


def write(folder: Path, *keys: dict[str, Any]) -> Path:
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    return file


def tokens_of(file: Path) -> AccessTokens:
    return AccessTokens(load_signing_keys(file), issuer="orderly", lifetime=timedelta(minutes=15))


@pytest.fixture
def stored_keys(signing_keys_file: Path) -> list[dict[str, str]]:
    keys: list[dict[str, str]] = json.loads(signing_keys_file.read_text())["keys"]
    return keys


async def test_the_public_halves_of_all_keys_are_published(users: FrontDoor, stored_keys: list[dict[str, str]]) -> None:
    answer = await users.client.get("/.well-known/jwks.json")

    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.json() == {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": k["x"], "kid": k["kid"], "use": "sig", "alg": "Ed25519"}
            for k in stored_keys
        ]
    }


async def test_a_token_of_the_key_before_is_good_until_that_key_leaves_the_file(tmp_path: Path) -> None:
    old, new = key("old"), key("new")
    user = UserAccount(id=uuid4(), roles=["customer"])
    token = tokens_of(write(tmp_path, old)).issue(user, session_id=uuid4())

    rotated = tokens_of(write(tmp_path, new, old))
    withdrawn = tokens_of(write(tmp_path, new))

    assert (await TokenVerifier(rotated.keys, issuer="orderly").verify(token)).user_id == user.id
    with pytest.raises(TokenInvalid):
        await TokenVerifier(withdrawn.keys, issuer="orderly").verify(token)


def test_a_key_without_an_id_is_known_by_its_thumbprint(tmp_path: Path) -> None:
    stored = key()
    [published] = tokens_of(write(tmp_path, stored)).published()
    assert published["kid"] == OKPKey.import_key(stored).thumbprint()


def test_what_else_a_key_in_the_file_carries_is_not_published(tmp_path: Path) -> None:
    [published] = tokens_of(write(tmp_path, key("a", key_ops=["sign"], note="ours"))).published()
    assert set(published) == {"kty", "crv", "x", "kid", "use", "alg"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([], "holds no key"),
        ([key("a"), key("a")], "two keys with one kid"),
        ([{name: value for name, value in key("a").items() if name != "d"}], "not a private Ed25519 key"),
        ([OKPKey.generate_key("X25519").as_dict(private=True)], "not a private Ed25519 key"),
        ([ECKey.generate_key("P-256").as_dict(private=True)], "not a JWK Set"),
        (["key"], "not a JWK Set"),
    ],
)
def test_a_file_that_can_not_sign_ends_the_start(tmp_path: Path, keys: list[Any], said: str) -> None:
    with pytest.raises(SigningKeysInvalid, match=said) as refused:
        load_signing_keys(write(tmp_path, *keys))
    secrets = [k["d"] for k in keys if isinstance(k, dict) and "d" in k]
    assert not any(secret in str(refused.value) for secret in secrets)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": 1}'])
def test_a_file_of_something_else_ends_the_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(SigningKeysInvalid, match="not a JWK Set"):
        load_signing_keys(file)


def test_a_missing_file_ends_the_start_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SigningKeysInvalid, match=r"missing\.json: No such file"):
        load_signing_keys(tmp_path / "missing.json")
