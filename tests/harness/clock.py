"""A clock that can be set wrong: libfaketime shifts the time that a process reads, while the process runs."""

import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Clock:
    """The clock of one process, which reads its shift from `file` once a second. Monotonic clocks stay right."""

    file: Path

    def environment(self) -> dict[str, str]:
        """Return the environment of the process, and set its clock right."""
        self.shift(0)
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def shift(self, seconds: int) -> None:
        """Set the clock wrong by this many seconds."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        # The server may run as another user.
        new.chmod(0o644)
        new.rename(self.file)


def clocks_can_be_shifted() -> bool:
    """Return whether the library runs here: its wheel was built for one kind of machine."""
    return platform.system() == "Linux" and platform.machine() == "x86_64"


def _library() -> Path:
    spec = find_spec("libfaketime")
    assert spec is not None, "libfaketime is part of the development packages"
    assert spec.origin is not None, "libfaketime is a package of files"
    return Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
