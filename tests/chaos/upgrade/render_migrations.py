"""Print the SQL of every migration of a checkout as JSON: {service: [{revision, file, sql}, ...]}, oldest first.

A program of its own, so that each version renders its migrations with its own code and packages.
"""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from types import ModuleType

from alembic.migration import MigrationContext
from alembic.operations import Operations

from shared.migrations import runner
from shared.migrations.runner import run_script


def migrations_in(folder: Path) -> list[dict[str, str]]:
    """Return the migrations of one service in the order in which they run."""
    after = {module.down_revision: (module, sql) for module, sql in map(_rendered, sorted(folder.glob("*.py")))}
    ordered: list[dict[str, str]] = []
    revision = None
    while revision in after:
        module, sql = after[revision]
        revision = module.revision
        ordered.append({"revision": module.revision, "file": str(module.__file__), "sql": sql})
    return ordered


def _rendered(path: Path) -> tuple[ModuleType, str]:
    """Return a migration and the SQL of its upgrade."""
    output = StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": output, "literal_binds": True}
    )
    # Scripts are executed on the connection, of which there is none here. The migration imports the function by name.
    setattr(runner, run_script.__name__, context.impl.static_output)
    module = _imported(path)
    with Operations.context(context):
        module.upgrade()
    return module, output.getvalue()


def _imported(path: Path) -> ModuleType:
    """Import a migration as Alembic does, from its file: its folder is no package."""
    spec = spec_from_file_location(f"{path.parent.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    root = Path(sys.argv[1])
    sys.stdout.write(
        json.dumps({path.parent.name: migrations_in(path) for path in sorted(root.glob("services/*/migrations"))})
    )
