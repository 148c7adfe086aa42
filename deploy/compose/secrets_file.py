"""Write deploy/.env, the file of compose's passwords. It is made once per checkout, and git ignores it.

It needs only the standard library of any Python 3, because `make up` needs no virtual environment.
"""

import os
import secrets
import sys
from pathlib import Path

NAMES = (
    "POSTGRES_PASSWORD",
    "USERS_DATABASE_PASSWORD",
    "ORDERS_DATABASE_PASSWORD",
    "NOTIFICATIONS_DATABASE_PASSWORD",
    "ADMIN_PASSWORD",
)


def write_secrets(file: Path) -> bool:
    """Write the file unless it exists: the databases have its passwords. Return whether it is new."""
    if file.exists():
        return False
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
        # Letters, digits, - and _ only: the passwords are not escaped in URLs.
        text.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in NAMES)
    unfinished.rename(file)
    return True


if __name__ == "__main__":
    path = Path(sys.argv[1])
    if write_secrets(path):
        print(f"Wrote new passwords to {path}.")
