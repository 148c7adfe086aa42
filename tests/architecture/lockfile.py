"""The packages that uv.lock installs for a dependency group in an image."""

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from tests.architecture.source import CHECKOUT

PROJECT = "orderly"
IMAGE_PYTHON = (3, 13)
IMAGE_GLIBC_MINOR = 36
"""The minor version of glibc 2 in Debian 12. The image has at least this version."""
MARKERS = {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "extra": "",
}


@dataclass(frozen=True)
class Locked:
    """A package at its locked version."""

    name: str
    wheels: tuple[str, ...]


@cache
def installed_by(group: str, *, machine: str = "x86_64") -> dict[str, Locked]:
    """Return the packages that `uv sync --no-default-groups --group ...` installs in the image, by name."""
    packages = _packages()
    project = next(package for package in packages if package["name"] == PROJECT)
    found: dict[str, Locked] = {}
    waiting = list(project["dev-dependencies"][group])
    seen = set()
    while waiting:
        dependency = waiting.pop()
        key = (dependency["name"], tuple(dependency.get("extra", ())))
        if key in seen or not _applies(dependency, machine):
            continue
        seen.add(key)
        package = _package(packages, dependency)
        wheels = tuple(wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", ()))
        found[package["name"]] = Locked(package["name"], wheels)
        waiting += package.get("dependencies", ())
        for extra in dependency.get("extra", ()):
            waiting += package.get("optional-dependencies", {}).get(extra, ())
    return found


@cache
def _packages() -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]
    return packages


def has_wheel(package: Locked, *, machine: str) -> bool:
    """Return whether the package has a wheel that fits the image for this machine."""
    tags = _tags(machine)
    return any(not tags.isdisjoint(parse_wheel_filename(wheel)[3]) for wheel in package.wheels)


@cache
def _tags(machine: str) -> frozenset[Tag]:
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, IMAGE_GLIBC_MINOR + 1)]
    platforms += [f"{older}_{machine}" for older in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    return frozenset(
        [*cpython_tags(IMAGE_PYTHON, platforms=platforms), *compatible_tags(IMAGE_PYTHON, "cp313", platforms)]
    )


def _applies(dependency: dict[str, Any], machine: str) -> bool:
    marker = dependency.get("marker")
    return marker is None or Marker(marker).evaluate({**MARKERS, "platform_machine": machine})


def _package(packages: list[dict[str, Any]], dependency: dict[str, Any]) -> dict[str, Any]:
    """Return the locked package. If its name is locked in several versions, the dependency has the version."""
    version = dependency.get("version")
    return next(
        package
        for package in packages
        if package["name"] == dependency["name"] and version in (None, package.get("version"))
    )


def locked_version(name: str) -> str:
    """Return the locked version of a package that has only one."""
    (version,) = {package["version"] for package in _packages() if package["name"] == name}
    return str(version)
