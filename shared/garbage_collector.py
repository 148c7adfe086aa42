"""Python's cyclic garbage collector, as a process needs it that makes many objects at once and drops them again."""

import gc

YOUNG_OBJECTS = 10_000
"""At so many new ones it looks for cycles among them. An event makes some twenty, nearly all without a cycle; at
Python's own 700 the looking took a sixth of a consumer's time."""


def tune_garbage_collector() -> None:
    """To be called when all is imported: what is there by now lives as long as the process, and is not walked again."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
