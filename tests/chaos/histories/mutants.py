"""Three mistakes that replace the real code in a process of the orders service: the history check has to find each.

A mutant is installed by `service_process.main` only, in a process that a test has started with the mutant's name.
"""

from collections.abc import Callable, Mapping

from shared.cache import Cache
from shared.http import idempotency
from shared.preconditions import Precondition
from tests.chaos.histories.checker import (
    ONE_ANSWER_PER_KEY,
    ONE_CHANGE_PER_VERSION,
    READS_SEE_CHANGES,
)


def stale_read() -> None:
    """Let changes leave the old value in the cache."""

    async def keep(*_: object) -> None:
        return None

    _replace(Cache, "invalidate", keep)


def lost_update() -> None:
    """Let changes ignore the version in If-Match."""

    def accept(*_: object) -> None:
        return None

    _replace(Precondition, "check", accept)


def double_effect() -> None:
    """Let requests find no saved answer of their Idempotency-Key, and save none."""

    async def find_nothing(*_: object) -> None:
        return None

    _replace(idempotency, "_lock", find_nothing)
    _replace(idempotency, "_save_response", find_nothing)


def _replace(owner: object, name: str, mutated: Callable[..., object]) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: the mutant would change nothing"
    setattr(owner, name, mutated)


MUTANTS: Mapping[str, Callable[[], None]] = {
    mutant.__name__: mutant for mutant in (stale_read, lost_update, double_effect)
}
FOUND_BY: Mapping[str, str] = {
    "stale_read": READS_SEE_CHANGES,
    "lost_update": ONE_CHANGE_PER_VERSION,
    "double_effect": ONE_ANSWER_PER_KEY,
}
"""The rule that each mutant violates; it may violate others too."""
