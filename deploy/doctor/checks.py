"""Every check of `make doctor`, in the order of its report."""

from collections.abc import Callable, Iterable

from deploy.doctor.finding import Finding
from deploy.doctor.machine import disk, docker, git, installer, make, memory, ports, python, system
from deploy.doctor.registries import maven_central, pip_index, uv_index

CHECKS: tuple[Callable[[], Finding], ...] = (
    system,
    python,
    installer,
    make,
    git,
    disk,
    memory,
    ports,
    pip_index,
    uv_index,
    maven_central,
    docker,
)


def report(checks: Iterable[Callable[[], Finding]] = CHECKS) -> int:
    """Print each finding as it comes. Returns 1 when something required is missing, otherwise 0."""
    is_complete = True
    for check in checks:
        finding = check()
        print(finding, flush=True)
        is_complete &= finding.status != "missing"
    return 0 if is_complete else 1
