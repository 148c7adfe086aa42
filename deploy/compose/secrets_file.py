"""Write deploy/.env, where compose finds the passwords: made once per checkout, and in no repository.

The standard library alone, in any Python 3: `make up` needs no virtual environment.
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
    """Make the file unless it is there: the databases were created with what it says. Returns whether it is new."""
    if file.exists():
        return False
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
        # Letters, digits, - and _: the passwords go into URLs as they are.
        text.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in NAMES)
    unfinished.rename(file)
    return True


if __name__ == "__main__":
    made = Path(sys.argv[1])
    if write_secrets(made):
        print(f"{made}: passwords made")
