"""Every check of `make doctor`, in the order of its report."""

from collections.abc import Callable

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


def report() -> int:
    """Print each finding as it comes. Return 1 if something required is missing, otherwise 0."""
    is_complete = True
    for check in CHECKS:
        finding = check()
        print(finding, flush=True)
        is_complete &= finding.status != "missing"
    return 0 if is_complete else 1
