"""`python -m deploy.wrong_builds BUILD SERVICE`: serve an unmodified service on deliberately wrong shared code."""

import runpy
import sys

from deploy.local.control_protocol import WrongBuild
from deploy.wrong_builds.patches import PATCHES


def main(build: str, service: str) -> None:
    """Serve until SIGTERM."""
    PATCHES[WrongBuild(build)]()
    module = f"services.{service}"
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
