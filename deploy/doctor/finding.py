"""Result of one check."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "optional"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. `optional` means absent and not required."""

    status: Status
    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.status:<8}  {self.name}: {self.detail}"


def ok(name: str, detail: str) -> Finding:
    """Report what is there."""
    return Finding("ok", name, detail)


def missing(name: str, detail: str) -> Finding:
    """Report something required that is not there; `detail` says how to get it."""
    return Finding("missing", name, detail)


def optional(name: str, detail: str) -> Finding:
    """Report something that is not there and not required; `detail` says what needs it."""
    return Finding("optional", name, detail)
