"""Signing keys: the file that holds them, and the public keys that are published."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey, OKPKey

from services.users.models.accounts import UserAccount
from services.users.sessions.access_tokens import AccessTokens, SigningKeysInvalid, load_signing_keys
from shared.http.tokens import TokenInvalid, TokenVerifier
from tests.users.service import UsersService


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


async def test_all_public_keys_are_published(service: UsersService, stored_keys: list[dict[str, str]]) -> None:
    response = await service.http.get("/.well-known/jwks.json")

    assert response.headers["cache-control"] == "public, max-age=300"
    assert response.json() == {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": k["x"], "kid": k["kid"], "use": "sig", "alg": "Ed25519"}
            for k in stored_keys
        ]
    }


async def test_a_token_is_valid_while_its_key_is_in_the_file(tmp_path: Path) -> None:
    old, new = key("old"), key("new")
    user = UserAccount(id=uuid4(), roles=["customer"])
    token = tokens_of(write(tmp_path, old)).issue(user, session_id=uuid4())

    rotated = tokens_of(write(tmp_path, new, old))
    withdrawn = tokens_of(write(tmp_path, new))

    assert (await TokenVerifier(rotated.keys, issuer="orderly").verify(token)).user_id == user.id
    with pytest.raises(TokenInvalid):
        await TokenVerifier(withdrawn.keys, issuer="orderly").verify(token)


def test_a_key_without_an_id_is_identified_by_its_thumbprint(tmp_path: Path) -> None:
    stored = key()
    [published] = tokens_of(write(tmp_path, stored)).public_keys()
    assert published["kid"] == OKPKey.import_key(stored).thumbprint()


def test_other_members_of_a_key_are_not_published(tmp_path: Path) -> None:
    [published] = tokens_of(write(tmp_path, key("a", key_ops=["sign"], note="ours"))).public_keys()
    assert set(published) == {"kty", "crv", "x", "kid", "use", "alg"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "holds no key"),
        ([key("a"), key("a")], "two keys with one kid"),
        ([{name: value for name, value in key("a").items() if name != "d"}], "not a private Ed25519 key"),
        ([OKPKey.generate_key("X25519").as_dict(private=True)], "not a private Ed25519 key"),
        ([ECKey.generate_key("P-256").as_dict(private=True)], "not a JWK Set"),
        (["key"], "not a JWK Set"),
    ],
)
def test_a_file_without_valid_signing_keys_is_rejected(tmp_path: Path, keys: list[Any], message: str) -> None:
    with pytest.raises(SigningKeysInvalid, match=message) as rejected:
        load_signing_keys(write(tmp_path, *keys))
    secrets = [k["d"] for k in keys if isinstance(k, dict) and "d" in k]
    assert not any(secret in str(rejected.value) for secret in secrets)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": 1}'])
def test_a_file_that_is_no_jwk_set_is_rejected(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(SigningKeysInvalid, match="not a JWK Set"):
        load_signing_keys(file)


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(SigningKeysInvalid, match=r"missing\.json: No such file"):
        load_signing_keys(tmp_path / "missing.json")
