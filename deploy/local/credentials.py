"""Secrets of the local system, made once and kept in a folder that only its owner can read."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.compose.secret_files import new_encryption_key
from deploy.local.postgres import AUDITOR, owner_of, server_of
from deploy.local.process import LocalError

SERVICES = ("users", "orders", "notifications")
ROLES = (*SERVICES, *map(owner_of, SERVICES), *map(server_of, SERVICES), AUDITOR)
"""The names of the passwords: of the roles that serve, of those that own, of the superusers, by their servers, and of
the one that audits."""
ADMIN_EMAIL = "admin@orderly.example"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The passwords of the database roles, and the secret files whose paths the processes get."""

    database_passwords: dict[str, str]
    """The password of each of ROLES."""
    service_tokens: dict[str, str]
    """The tokens for the internal routes of the users service, by the service that has each."""
    encryption_keys_file: Path
    admin_password_file: Path


def ensure_credentials(folder: Path) -> Credentials:
    """Read the credentials, and make those that do not exist yet.

    Raises: LocalError if the passwords are those of an earlier version, whose data this one cannot use.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    passwords = folder / "database-passwords.json"
    _write_once(passwords, lambda: json.dumps({role: secrets.token_urlsafe(24) for role in ROLES}))
    tokens = folder / "service-tokens.json"
    _write_once(tokens, lambda: json.dumps({name: secrets.token_urlsafe(24) for name in SERVICES if name != "users"}))
    encryption_keys = folder / "encryption-keys"
    _write_once(encryption_keys, new_encryption_key)
    admin_password = folder / "admin-password"
    _write_once(admin_password, lambda: secrets.token_urlsafe(18))
    database_passwords = json.loads(passwords.read_text())
    if missing := [role for role in ROLES if role not in database_passwords]:
        raise LocalError(
            f"{passwords} lacks passwords ({', '.join(missing)}): the data are of an earlier version."
            " `make reset` deletes them."
        )
    return Credentials(
        database_passwords=database_passwords,
        service_tokens=json.loads(tokens.read_text()),
        encryption_keys_file=encryption_keys,
        admin_password_file=admin_password,
    )


def _write_once(path: Path, make: Callable[[], str]) -> None:
    """Write the file unless it exists. It gets its name when it is complete."""
    if path.exists():
        return
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(make())
    unfinished.rename(path)
