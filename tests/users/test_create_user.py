"""The command `create-user`, which creates the first admin."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from services.users.settings import Settings
from tests.users.service import UsersService, bearer


async def create_user(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run the command, and return its exit status and its output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.users", "create-user", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ
        | {
            "USERS_DATABASE_URL": settings.database_url,
            "USERS_VALKEY_URL": settings.valkey_url,
            "USERS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "USERS_ENCRYPTION_KEYS_FILE": str(settings.encryption_keys_file),
            "USERS_SIGNING_KEYS_FILE": str(settings.signing_keys_file),
            "USERS_SERVICE_TOKENS": "orders=a token of no use",
            "USERS_WEBAUTHN_RP_ID": settings.webauthn_rp_id,
            "USERS_WEBAUTHN_ORIGINS": ",".join(settings.webauthn_origins),
        },
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text("a password of ten\n")
    return str(file)


async def test_an_admin_is_created_once(service: UsersService, settings: Settings, password_file: str) -> None:
    options = [
        "--email",
        "Admin@orderly.example",
        "--name",
        "Admin",
        "--role",
        "admin",
        "--password-file",
        password_file,
    ]

    first = await create_user(settings, *options)
    again = await create_user(settings, *options[:3], "Other", *options[4:])

    assert first == (0, "Created Admin@orderly.example.\n")
    assert again == (0, "Admin@orderly.example exists already.\n")
    tokens = await service.sign_in(email="admin@orderly.example", password="a password of ten")
    admin = (await service.http.get("/v1/users/me", headers=bearer(tokens))).json()
    assert (admin["name"], admin["roles"]) == ("Admin", ["admin"])
    assert admin["email_verified_at"] is not None
    assert [type_ for type_, _ in await service.events(without="")] == ["user.created"]


async def test_an_invalid_option_is_named_and_creates_nothing(
    service: UsersService, settings: Settings, password_file: str
) -> None:
    options = {"--email": "a@orderly.example", "--name": "A", "--role": "admin", "--password-file": password_file}
    wrong = {
        ("--email", "nobody"): "email: value is not a valid email address",
        ("--role", "root"): "must be one of customer, support, admin",
    }
    for (option, value), message in wrong.items():
        changed = options | {option: value}
        status, output = await create_user(settings, *(part for pair in changed.items() for part in pair))

        assert (status, "Traceback" in output) == (2, False)
        assert message in output
    assert await service.events(without="") == []


async def test_a_short_password_is_rejected_without_being_shown(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "short"
    file.write_text("tooshort")

    status, output = await create_user(
        settings, "--email", "a@orderly.example", "--name", "A", "--password-file", str(file)
    )

    assert status == 2
    assert "password: " in output
    assert "tooshort" not in output
