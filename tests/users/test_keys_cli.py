"""The operators' commands `keys ...`."""

import json
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet

from services.users.encryption import load_encryption
from services.users.models.sessions import SigningKey
from services.users.settings import Settings
from tests.harness.forked_commands import run_forked
from tests.users.service import UsersService, environment_of
from tests.users.signing_keys import states


async def keys(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run a command, and return its exit status and its output."""
    status, output, errors = await run_forked(
        "services.users", "keys", *arguments, environment=environment_of(settings)
    )
    return status, output + errors


async def test_keys_are_rotated_listed_and_withdrawn(service: UsersService, settings: Settings) -> None:
    old = str((await service.app.state.access_tokens.keys.signing_key()).kid)

    status, output = await keys(settings, "rotate", "--actor", "ada@ops", "--json")
    new: dict[str, Any] = json.loads(output)
    assert (status, await states(service)) == (0, {new["kid"]: "published", old: "signing"})

    status, output = await keys(settings, "rotate")
    assert (status, "Traceback" in output) == (2, False)
    assert f"The key {new['kid']} of the last rotation signs from" in output

    status, output = await keys(settings, "withdraw", old)
    assert (status, len(await states(service)), (await states(service))[old]) == (0, 3, "withdrawn")
    assert "signs from" in output

    status, output = await keys(settings, "list")
    assert status == 0
    assert [line.split()[1] for line in output.splitlines()] == ["state", "published", "signing", "withdrawn"]


async def test_secrets_are_encrypted_anew_with_the_first_key(service: UsersService, settings: Settings) -> None:
    await service.http.get("/.well-known/jwks.json")
    file = settings.encryption_keys_file
    old_key, new_key = file.read_text(), Fernet.generate_key().decode()
    file.write_text(f"{new_key}\n{old_key}")

    status, output = await keys(settings, "reencrypt", "--json")

    assert (status, json.loads(output)) == (0, {"signing_key.private_key": 1, "totp.encrypted_secret": 0})
    file.write_text(f"{new_key}\n")
    async with service.sessions() as session:
        stored = (await session.scalars(sa.select(SigningKey.private_key))).one()
    assert len(load_encryption(file).decrypt(stored or "")) == 32

    file.write_text("no key\n")
    status, output = await keys(settings, "reencrypt")
    assert (status, "Traceback" in output) == (2, False)
    assert "holds a line that is no Fernet key" in output
