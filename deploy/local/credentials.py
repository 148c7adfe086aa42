"""Secrets of the local system, made once and kept in a folder that only its owner can read."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.compose.signing_keys import write_signing_keys
from deploy.local.postgres import owner_of

SERVICES = ("users", "orders", "notifications")
ROLES = ("postgres", *SERVICES, *(owner_of(service) for service in SERVICES))
"""The roles of the database server: its superuser, and for each service the one that serves and the one that owns."""
ADMIN_EMAIL = "admin@orderly.example"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The passwords of the database roles, and the secret files whose paths the processes get."""

    database_passwords: dict[str, str]
    signing_keys_file: Path
    admin_password_file: Path


def ensure_credentials(folder: Path) -> Credentials:
    """Read the credentials, and make those that do not exist yet."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    passwords = folder / "database-passwords.json"
    _write_once(passwords, lambda: json.dumps({role: secrets.token_urlsafe(24) for role in ROLES}))
    signing_keys = folder / "signing-keys.json"
    write_signing_keys(signing_keys)
    admin_password = folder / "admin-password"
    _write_once(admin_password, lambda: secrets.token_urlsafe(18))
    return Credentials(
        database_passwords=json.loads(passwords.read_text()),
        signing_keys_file=signing_keys,
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
