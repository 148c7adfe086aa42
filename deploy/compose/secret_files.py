"""The passwords of the compose stack: a file each in deploy/secrets, made once per checkout; git ignores the folder.

Only the standard library: `make up` needs no virtual environment.
"""

import base64
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

SERVICES = ("users", "orders", "notifications")
CALLERS_OF_USERS = ("orders", "notifications", "console")
"""The programs that may use the internal routes of users, each with a token of its own."""
FOLDER = Path(__file__).parents[1] / "secrets"


def _new_password() -> str:
    # Letters, digits, - and _ only: the passwords are not escaped in URLs and configuration files.
    return secrets.token_urlsafe(24)


def new_encryption_key() -> str:
    """Return a Fernet key: 32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


PASSWORDS = (
    *(f"{service}_postgres_password" for service in SERVICES),
    *(f"{service}_owner_database_password" for service in SERVICES),
    *(f"{service}_database_password" for service in SERVICES),
    "archive_password",
    "audit_database_password",
    "valkey_password",
    *(f"{service}_kafka_password" for service in SERVICES),
    "audit_kafka_password",
    *(f"{caller}_users_token" for caller in CALLERS_OF_USERS),
    "smtp_password",
    "admin_password",
    "grafana_password",
)
# Of another form, or made of the passwords above.
DERIVED: Mapping[str, Callable[[Path], str]] = {
    "users_encryption_keys": lambda _folder: new_encryption_key(),
    "users_service_tokens": lambda folder: "".join(
        f"{caller}={(folder / f'{caller}_users_token').read_text()}\n" for caller in CALLERS_OF_USERS
    ),
    "smtp_users": lambda folder: f"notifications:{(folder / 'smtp_password').read_text()}",
}
NAMES = (*PASSWORDS, *DERIVED)


def missing_secrets(folder: Path) -> list[str]:
    """Return the names of the secret files that do not exist."""
    return [name for name in NAMES if not (folder / name).exists()]


def write_secrets(folder: Path) -> list[str]:
    """Write the secret files that do not exist, and return their names.

    Compose mounts each file into the containers that name it, whose users differ, so everybody may read the files. Only
    their owner can enter the folder.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    missing = missing_secrets(folder)
    for name in missing:
        content = DERIVED[name](folder) if name in DERIVED else _new_password()
        unfinished = folder / f".{name}.unfinished"
        unfinished.write_text(content)
        unfinished.replace(folder / name)
    # All of them: an operator may have written a file with another mode.
    for name in NAMES:
        (folder / name).chmod(0o444)
    return missing
