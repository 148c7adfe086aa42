"""`python -m tests.contracts`: regenerate the schemas of events and the generated parts of docs/.

`python -m tests.contracts release` also marks the schemas as released, with the migrations, cached values and jobs of
this version: from then on they may only grow.
"""

import sys
import tempfile
from pathlib import Path

from tests.contracts import schemas, upgrades
from tests.contracts.applications import applications
from tests.contracts.documents import generated, with_section


def update() -> None:
    """Write the schemas and documents that the code describes."""
    schemas.write(schemas.current_schemas(), schemas.COMMITTED)
    with tempfile.TemporaryDirectory() as folder:
        for (path, name), content in generated(applications(Path(folder))).items():
            path.write_text(with_section(path.read_text(), name, content))


def release() -> None:
    """Store the schemas, and what else two versions share, as released.

    Raises: SystemExit if a schema breaks its release or lacks an example.
    """
    current = schemas.current_schemas()
    if broken := schemas.broken_releases(released=schemas.read(schemas.RELEASED), current=current):
        sys.exit("Not released, because these changes break consumers of the last release:\n  " + "\n  ".join(broken))
    if outdated := schemas.outdated_examples():
        sys.exit("Not released, because these types need a golden example:\n  " + "\n  ".join(outdated))
    schemas.write(current, schemas.RELEASED)
    upgrades.write(upgrades.current())


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            update()
        case ["release"]:
            update()
            release()
        case _:
            sys.exit(__doc__)
