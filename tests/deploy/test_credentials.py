"""The secrets of `make run` are made once; a folder of an older version gets those that it lacks."""

import json
from pathlib import Path

from deploy.local.credentials import ROLES, ensure_credentials


def test_known_passwords_are_kept_and_missing_ones_are_added(tmp_path: Path) -> None:
    made = ensure_credentials(tmp_path).database_passwords
    file = tmp_path / "database-passwords.json"
    file.write_text(json.dumps({role: password for role, password in made.items() if role != "audit"}))

    completed = ensure_credentials(tmp_path).database_passwords

    assert set(made) == set(completed) == set(ROLES)
    assert {role for role in ROLES if completed[role] != made[role]} == {"audit"}
    assert ensure_credentials(tmp_path).database_passwords == completed
    assert file.stat().st_mode & 0o077 == 0
