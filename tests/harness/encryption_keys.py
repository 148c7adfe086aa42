"""A file with an encryption key of the users service."""

from pathlib import Path

from deploy.compose.secret_files import new_encryption_key


def write_encryption_keys(folder: Path) -> Path:
    """Write a file with a new key, and return its path."""
    file = folder / "encryption-keys"
    file.write_text(f"{new_encryption_key()}\n")
    return file
