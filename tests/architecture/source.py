"""The Python modules of this repository, parsed."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("services", "shared", "deploy", "tests")
SERVICES = ("notifications", "orders", "users")


@dataclass(frozen=True)
class Module:
    """A Python file."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def tree(self) -> ast.Module:
        """Parse it each time: the trees of all modules are two million objects, which slow every garbage collection."""
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """The name by which the module is imported."""
        return ".".join(self.path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")

    def imports(self) -> Iterator[tuple[str, str | None]]:
        """Yield every import as (module, imported name); `import a.b` is ("a.b", None)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                yield from ((node.module, alias.name) for alias in node.names)


def kept_files(root: Path = CHECKOUT, *paths: str) -> list[str]:
    """Return the files below `root`, or below these folders of it, that git keeps or would keep; sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths],  # noqa: S607
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(set(listed.stdout.splitlines()))


@cache
def modules_under(*packages: str) -> tuple[Module, ...]:
    """Return every module in these folders of the checkout, sorted by path."""
    return tuple(Module(path) for package in packages for path in sorted((CHECKOUT / package).rglob("*.py")))
