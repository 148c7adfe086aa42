"""`make doctor`: say what this machine lacks, and how to get it. It runs before there is a .venv.

The syntax here is Python 3.6's, so that an old Python can still say that it is too old.
"""

import sys

MIN_PYTHON = (3, 11)


def main() -> int:
    """Print one line per check. Return 1 if something required is missing, otherwise 0."""
    if sys.version_info < MIN_PYTHON:
        print(
            "missing   Python: {}.{} or newer is needed, and {} is {}.{}.{}. Install a newer one, and name it: "
            "make PYTHON=/path/to/python3 ...".format(*MIN_PYTHON, sys.executable, *sys.version_info[:3])
        )
        return 1
    if sys.platform not in ("linux", "darwin"):
        print(f"missing   System: Linux or macOS is needed, and this is {sys.platform} (on Windows: WSL)")
        return 1
    from deploy.doctor.checks import report  # noqa: PLC0415 - an old Python could not read it

    return report()


if __name__ == "__main__":
    sys.exit(main())
