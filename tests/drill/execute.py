"""`python -m tests.drill.execute`: execute the commands on stdin, and print those that failed as a JSON list."""

import json
import shlex
import sys
from importlib import import_module

from typer.testing import CliRunner

NOTE = '"..."'


def execute(command: str) -> list[str]:
    """Execute a command as its arguments stand there; return it with its output if it failed."""
    _python, _option, module, *arguments = shlex.split(command.replace(NOTE, "drill"))
    result = CliRunner().invoke(import_module(f"{module}.__main__").cli, arguments)
    return [f"{command}: {result.output.strip()} {result.exception!r}"] if result.exit_code else []


if __name__ == "__main__":
    json.dump([failed for command in sys.stdin.read().splitlines() for failed in execute(command)], sys.stdout)
