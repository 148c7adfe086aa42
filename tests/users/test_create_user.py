"""The command `create-user`, which creates the first admin."""

import asyncio
import os
import pty
import sys
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from services.users.__main__ import cli
from services.users.models.security_record import SecurityEvent
from services.users.settings import Settings
from tests.users.service import UsersService, bearer, environment_of


async def create_user(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run the command without a terminal, and return its exit status and its output."""
    # In a thread: the command has an event loop of its own.
    run = partial(CliRunner().invoke, cli, ["create-user", *arguments], env=environment_of(settings))
    result = await asyncio.to_thread(run)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


async def create_user_in_terminal(settings: Settings, *arguments: str, answer: bytes) -> int:
    """Run the command in a terminal where somebody types the answer, and return its exit status."""
    terminal, its_end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.users", "create-user", *arguments),
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env=os.environ | environment_of(settings),
    )
    os.close(its_end)
    os.write(terminal, answer)
    status = await process.wait()
    os.close(terminal)
    return status


@pytest.fixture(autouse=True)
def _logging(restored_logging: None) -> None:
    """Undo what the command configures."""


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
    assert again == (0, "Admin@orderly.example exists already; its password and name stay as they are.\n")
    tokens = await service.sign_in(email="admin@orderly.example", password="a password of ten")
    admin = (await service.http.get("/v1/users/me", headers=bearer(tokens))).json()
    assert (admin["name"], admin["roles"]) == ("Admin", ["admin"])
    assert admin["email_verified_at"] is not None
    assert [type_ for type_, _ in await service.events(without=())] == ["user.created"]


async def test_a_role_is_granted_to_a_known_address_only_with_consent(
    service: UsersService, settings: Settings, password_file: str
) -> None:
    admin = await service.header_with("admin", email="first@orderly.example")
    body = {"email": "ada@orderly.example", "name": "Ada"}
    user = (await service.http.post("/v1/users/verified", json=body, headers=admin)).json()
    options = ["--email", "Ada@orderly.example", "--name", "A", "--role", "admin", "--password-file", password_file]
    exists = "Ada@orderly.example exists already; its password and name stay as they are.\n"

    refused = await create_user(settings, *options)
    unchanged = (await service.http.get(f"/v1/users/{user['id']}", headers=admin)).json()
    granted = await create_user(settings, *options, "--yes", "--actor", "ops")
    again = await create_user(settings, *options)

    assert refused == (3, f"{exists}It lacks the role admin. Repeat with --yes to grant it.\n")
    assert unchanged == user
    assert granted == (0, f"{exists}Granted the role admin.\n")
    assert again == (0, exists)
    assert await service.events() == [
        ("user.roles_changed", {"user_id": user["id"], "roles": ["customer", "admin"]}),
    ]
    async with service.sessions() as session:
        (entry,) = await session.scalars(sa.select(SecurityEvent).where(SecurityEvent.kind == "roles_changed"))
    assert (str(entry.user_id), entry.actor) == (user["id"], "ops")


async def test_no_role_is_granted_to_an_address_that_nobody_has_proved(
    service: UsersService, settings: Settings, password_file: str
) -> None:
    """A stranger could sign up with the admin's address first, and would be given the shop."""
    await service.sign_up(email="admin@orderly.example")
    options = ["--email", "admin@orderly.example", "--name", "A", "--role", "admin", "--password-file", password_file]

    status, output = await create_user(settings, *options, "--yes")

    assert status == 3
    assert "Its address was never verified, so it may belong to somebody else." in output
    assert await service.events() == []


async def test_a_role_is_offered_in_a_terminal(service: UsersService, settings: Settings, password_file: str) -> None:
    await service.sign_up(email="ada@orderly.example")
    options = ["--email", "ada@orderly.example", "--name", "A", "--role", "support", "--password-file", password_file]

    assert await create_user_in_terminal(settings, *options, answer=b"y\n") == 0

    assert [data["roles"] for _, data in await service.events()] == [["customer", "support"]]


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
    assert await service.events(without=()) == []


async def test_a_short_password_is_rejected_without_being_shown(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "short"
    file.write_text("tooshort")

    status, output = await create_user(
        settings, "--email", "a@orderly.example", "--name", "A", "--password-file", str(file)
    )

    assert status == 2
    assert "password: " in output
    assert "tooshort" not in output
