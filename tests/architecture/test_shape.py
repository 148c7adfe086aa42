"""Every file is short, has a meaningful name and a docstring, and works on any machine."""

import ast
import re

from tests.architecture.source import CHECKOUT, PACKAGES, kept_files, modules_under

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
# The expression does not match itself.
MACHINE_PATH = re.compile(r"/(?:work|home|Users|root)/[\w.]+")

MODULES = modules_under(*PACKAGES)


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {module.name: len(module.text.splitlines()) for module in MODULES}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_50_lines() -> None:
    lengths = {
        f"{module.name}.{node.name}": _length(node)
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_no_module_has_a_vague_name() -> None:
    assert [module.name for module in MODULES if VAGUE_NAMES & set(module.name.split("."))] == []


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {module.path.parent for module in MODULES if not _is_migration(module.path.parts)}
    missing = [str(folder.relative_to(CHECKOUT)) for folder in folders if not (folder / "__init__.py").exists()]
    assert missing == []


def test_every_module_has_a_docstring() -> None:
    # An empty __init__.py needs none.
    modules = [module for module in MODULES if module.text]
    first_lines = {module.name: (ast.get_docstring(module.tree) or "").partition("\n")[0] for module in modules}
    assert [name for name, line in first_lines.items() if not line] == []


def test_no_file_has_a_path_of_one_machine() -> None:
    found = {}
    for name in kept_files():
        try:
            text = (CHECKOUT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        if paths := set(MACHINE_PATH.findall(text)):
            found[name] = paths
    assert found == {}


def test_the_lock_names_one_index_only() -> None:
    sources = set(re.findall(r'registry = "([^"]+)"', (CHECKOUT / "uv.lock").read_text()))
    assert len(sources) == 1


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines from `def` on, without the lines of nested functions."""
    inner = [
        node
        for statement in function.body
        for node in ast.walk(statement)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = {line for node in inner for line in _lines(node)}
    return len(set(_lines(function)) - lines)


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    return range(function.lineno, (function.end_lineno or function.lineno) + 1)


def _is_migration(parts: tuple[str, ...]) -> bool:
    """Return whether the path is of a migration. Alembic loads those by path, so their folder is no package."""
    return "services" in parts and parts[-2] == "migrations"
