"""Stand-ins for servers: small programs that record in files what happens to them."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from deploy.local.process import Program

OBEDIENT = """
import os, pathlib, signal, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]

def end(*_):
    with (folder / "stopped").open("a") as stopped:
        stopped.write(name + "\\n")
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # as PostgreSQL: a shell's background jobs inherit that it is ignored
print("WARNING: at the start")
(folder / (name + ".pid")).write_text(str(os.getpid()))
while True:
    time.sleep(0.01)
"""

# It ignores SIGTERM. Its child is in its process group.
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(folder / "child.pid").write_text(str(child.pid))
(folder / (name + ".pid")).write_text(str(os.getpid()))
time.sleep(600)
"""

SHORT_LIVED = """
import os, pathlib, sys
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / (name + ".pid")).write_text(str(os.getpid()))
print("out of", "memory")
sys.exit(3)
"""


def program(folder: Path, name: str, *, script: str = OBEDIENT, **options: Any) -> Program:
    """Return a program that is ready when it has written its pid to NAME.pid."""
    ready = options.pop("ready", _exists(folder / f"{name}.pid"))
    command: list[str | Path] = [sys.executable, "-c", script, folder, name]
    return Program(name=name, command=command, ready=ready, address="nowhere", **options)


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def exists() -> bool:
        return path.exists()  # noqa: ASYNC240 - one look at a local file

    return exists
