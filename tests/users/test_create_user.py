"""`create-user`: the command that makes the first admin."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from services.users.settings import Settings
from tests.users.front_door import FrontDoor, bearer


async def create_user(settings: Settings, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.users", "create-user", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ
        | {
            "USERS_DATABASE_URL": settings.database_url,
            "USERS_VALKEY_URL": settings.valkey_url,
            "USERS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "USERS_SIGNING_KEYS_FILE": str(settings.signing_keys_file),
        },
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text("a password of ten\n")
    return str(file)


async def test_an_admin_is_made_once(users: FrontDoor, settings: Settings, password_file: str) -> None:
    who = ["--email", "Admin@orderly.example", "--name", "Admin", "--role", "admin", "--password-file", password_file]

    first = await create_user(settings, *who)
    again = await create_user(settings, *who[:3], "Other", *who[4:])

    assert first == (0, "Admin@orderly.example was made\n")
    assert again == (0, "Admin@orderly.example is there already\n")
    tokens = await users.sign_in(email="admin@orderly.example", password="a password of ten")
    admin = (await users.client.get("/v1/users/me", headers=bearer(tokens))).json()
    assert (admin["name"], admin["roles"]) == ("Admin", ["admin"])
    assert admin["email_verified_at"] is not None
    assert [type_ for type_, _ in await users.events(but="")] == ["user.created"]


async def test_what_is_wrong_is_said_and_nothing_made(users: FrontDoor, settings: Settings, password_file: str) -> None:
    options = {"--email": "a@orderly.example", "--name": "A", "--role": "admin", "--password-file": password_file}
    wrong = {
        ("--email", "nobody"): "email: value is not a valid email address",
        ("--role", "root"): "one of customer, support, admin is wanted",
    }
    for (option, value), said in wrong.items():
        changed = options | {option: value}
        status, output = await create_user(settings, *(part for pair in changed.items() for part in pair))

        assert (status, "Traceback" in output) == (2, False)
        assert said in output
    assert await users.events(but="") == []


async def test_a_short_password_is_refused_without_showing_it(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "short"
    file.write_text("tooshort")

    status, output = await create_user(
        settings, "--email", "a@orderly.example", "--name", "A", "--password-file", str(file)
    )

    assert status == 2
    assert "password: " in output
    assert "tooshort" not in output
