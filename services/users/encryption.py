"""Encryption of the secrets in the database: private signing keys and the secrets of second factors."""

from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class EncryptionKeysInvalid(Exception):
    """The file of encryption keys can't be used. The message never holds a key."""


class SecretUnreadable(Exception):
    """None of the keys decrypts a stored secret."""


class Encryption:
    """Encrypts with the first key and decrypts with all of them, so that keys can be replaced one by one."""

    def __init__(self, keys: MultiFernet) -> None:
        self._keys = keys

    def encrypt(self, secret: bytes) -> str:
        """Return the secret as a Fernet token."""
        return self._keys.encrypt(secret).decode()

    def decrypt(self, token: str) -> bytes:
        """Return the secret in a token. Raises: SecretUnreadable."""
        try:
            return self._keys.decrypt(token)
        except InvalidToken:
            raise SecretUnreadable from None

    def rotate(self, token: str) -> str:
        """Return the token, encrypted anew with the first key. Raises: SecretUnreadable."""
        try:
            return self._keys.rotate(token).decode()
        except InvalidToken:
            raise SecretUnreadable from None


def load_encryption(file: Path) -> Encryption:
    """Read the keys. Raises: EncryptionKeysInvalid."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
        keys = [Fernet(line) for line in lines]
    except OSError as error:
        raise EncryptionKeysInvalid(f"{file}: {error.strerror}") from None
    except ValueError:
        raise EncryptionKeysInvalid(f"{file} holds a line that is no Fernet key") from None
    if not keys:
        raise EncryptionKeysInvalid(f"{file} holds no key")
    return Encryption(MultiFernet(keys))
