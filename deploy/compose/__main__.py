"""`python -m deploy.compose up|down|reset|logs|demo`: what `make up` and its relatives run."""

import sys
from collections.abc import Callable
from functools import partial

from deploy.compose import stack
from deploy.compose.engine import ComposeError
from deploy.compose.secret_files import FOLDER


def main(arguments: list[str]) -> int:
    """Run a command, and return its exit status."""
    name, *options = arguments or [""]
    commands: dict[str, Callable[[], int]] = {
        "up": partial(stack.up, FOLDER),
        "down": stack.down,
        "reset": partial(stack.reset, FOLDER),
        "logs": stack.logs,
        "demo": partial(stack.demo, options),
    }
    if name not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[name]()
    except ComposeError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
