"""What a check found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "optional"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. `optional`: it is not there, and nothing that is required needs it."""

    status: Status
    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.status:<8}  {self.name}: {self.detail}"


def ok(name: str, detail: str) -> Finding:
    """It is there."""
    return Finding("ok", name, detail)


def missing(name: str, detail: str) -> Finding:
    """It is required and not there; `detail` says how to get it."""
    return Finding("missing", name, detail)


def optional(name: str, detail: str) -> Finding:
    """It is not there; `detail` says what works without it and what does not."""
    return Finding("optional", name, detail)
