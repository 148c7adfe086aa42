"""Secrets in the database are encrypted with keys that can be replaced."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.users.encryption import Encryption, EncryptionKeysInvalid, SecretUnreadable, load_encryption

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def encryption_with(folder: Path, *keys: str) -> Encryption:
    file = folder / "keys"
    file.write_text("".join(f"{key}\n" for key in keys))
    return load_encryption(file)


def test_a_secret_is_read_with_every_key_and_written_with_the_first(tmp_path: Path) -> None:
    before, during, after = (encryption_with(tmp_path, *keys) for keys in ((OLD,), (NEW, OLD), (NEW,)))
    token = before.encrypt(b"secret")

    assert during.decrypt(token) == b"secret"
    assert after.decrypt(during.rotate(token)) == b"secret"
    with pytest.raises(SecretUnreadable):
        after.decrypt(token)
    with pytest.raises(SecretUnreadable):
        after.rotate(token)


@pytest.mark.parametrize("keys", [[], ["no key"], [OLD, OLD[:-4]]])
def test_a_file_without_valid_keys_is_refused(tmp_path: Path, keys: list[str]) -> None:
    with pytest.raises(EncryptionKeysInvalid) as refused:
        encryption_with(tmp_path, *keys)
    assert OLD[:-4] not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncryptionKeysInvalid, match=r"missing: No such file"):
        load_encryption(tmp_path / "missing")
