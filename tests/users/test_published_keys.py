"""Clients outside of this project verify tokens with the published keys: PyJWT of Python, and jose4j of Java."""

import asyncio
import json
import sys
from typing import Any

import jwt
import pytest

from deploy.local.kafka_jars import ensure_jars
from deploy.local.state import CHECKOUT
from tests.harness.asgi import served
from tests.users.service import UsersService


async def jose4j(keys_url: str, token: str) -> tuple[int, str, str]:
    """Run the client, and return its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.users.jose4j_client", keys_url, token),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


def pyjwt(keys_url: str, token: str) -> dict[str, Any]:
    """Verify a token as PyJWT's documentation shows it."""
    key = jwt.PyJWKClient(keys_url).get_signing_key_from_jwt(token)
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], audience="orderly", issuer="orderly")
    return claims


async def test_pyjwt_verifies_a_token(service: UsersService) -> None:
    user = await service.sign_up()
    token = (await service.sign_in())["access_token"]
    async with served(service.app) as url:
        keys_url = f"{url}/.well-known/jwks.json"

        claims = await asyncio.to_thread(pyjwt, keys_url, token)

        assert (claims["sub"], claims["amr"]) == (user["id"], ["pwd"])
        with pytest.raises(jwt.InvalidSignatureError):
            await asyncio.to_thread(pyjwt, keys_url, f"{token[:-10]}AAAAAAAAAA")


async def test_jose4j_verifies_a_token(service: UsersService, tmp_path: Any) -> None:
    await ensure_jars(tmp_path / "jars.log")
    user = await service.sign_up()
    token = (await service.sign_in())["access_token"]
    async with served(service.app) as url:
        keys_url = f"{url}/.well-known/jwks.json"

        (status, output, _), (forged_status, _, forged_errors) = await asyncio.gather(
            jose4j(keys_url, token), jose4j(keys_url, f"{token[:-10]}AAAAAAAAAA")
        )

    assert status == 0
    assert json.loads(output)["sub"] == user["id"]
    assert forged_status == 1
    assert "InvalidJwtSignatureException" in forged_errors
