"""`python -m tests.contracts`: bring the events' schemas and the generated parts of docs/ up to date.

`python -m tests.contracts release` also declares the schemas released: from then on they may only grow.
"""

import sys
import tempfile
from pathlib import Path

from tests.contracts import schemas
from tests.contracts.applications import applications
from tests.contracts.documents import generated, with_section


def update() -> None:
    """Write what the code says."""
    schemas.write(schemas.of_the_code(), schemas.COMMITTED)
    with tempfile.TemporaryDirectory() as folder:
        for (path, name), content in generated(applications(Path(folder))).items():
            path.write_text(with_section(path.read_text(), name, content))


def release() -> None:
    """Raises: SystemExit when the last release would be broken, or an example is missing."""
    present = schemas.of_the_code()
    if broken := schemas.broken_promises(released=schemas.read(schemas.RELEASED), present=present):
        sys.exit("not released, because readers of the last release would break:\n  " + "\n  ".join(broken))
    if outdated := schemas.outdated_examples():
        sys.exit("not released, because these need a golden example of today:\n  " + "\n  ".join(outdated))
    schemas.write(present, schemas.RELEASED)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            update()
        case ["release"]:
            update()
            release()
        case _:
            sys.exit(__doc__)
