"""Read the Makefile and uv.lock with the standard library only."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from deploy.local.kafka_jars import cache_folder
from deploy.local.state import CHECKOUT


@cache
def uv_version() -> str:
    """Return the version of uv that the Makefile installs."""
    pinned = re.search(r"^UV_VERSION := (\S+)$", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE)
    if pinned is None:
        raise LookupError("the Makefile pins no UV_VERSION")
    return pinned[1]


def uv_program() -> Path:
    """Return where the Makefile installs uv, once for every clone."""
    return cache_folder() / f"uv-{uv_version()}" / "bin" / "uv"


def is_venv_complete() -> bool:
    """Return whether `make venv` has nothing left to do."""
    made = CHECKOUT / ".venv" / ".complete"
    sources = [CHECKOUT / "uv.lock", CHECKOUT / "pyproject.toml"]
    return made.exists() and all(made.stat().st_mtime >= source.stat().st_mtime for source in sources)


def locked_index() -> str:
    """Return the package index that uv.lock names."""
    return str(next(package["source"]["registry"] for package in _locked() if "registry" in package["source"]))


def a_locked_wheel() -> str:
    """Return the URL of one wheel: an index may serve its files from another host."""
    return str(next(package["wheels"][0]["url"] for package in _locked() if package.get("wheels")))


@cache
def _locked() -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]
    return packages
