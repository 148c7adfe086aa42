"""Write the JWK Set with which the users service signs access tokens.

In compose it is mounted alone into that service's image, so it imports no other module of this project.
"""

import json
import os
import sys
from pathlib import Path

from joserfc.jwk import KeySet, OKPKey


def write_signing_keys(file: Path) -> bool:
    """Write the file unless it exists: new keys would invalidate every access token. Return whether it is new."""
    if file.exists():
        return False
    key = OKPKey.generate_key("Ed25519", parameters={"use": "sig"}, private=True, auto_kid=True)
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
        json.dump(KeySet([key]).as_dict(private=True), text)
    unfinished.rename(file)
    return True


if __name__ == "__main__":
    write_signing_keys(Path(sys.argv[1]))
