"""The tuned garbage collector searches less often, and still frees cycles."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from shared.garbage_collector import YOUNG_OBJECTS, tune_garbage_collector


class Cyclic:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def tuned() -> Iterator[None]:
    before = gc.get_threshold()
    tune_garbage_collector()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("tuned")
def test_existing_objects_are_never_searched_again() -> None:
    assert gc.get_freeze_count() > YOUNG_OBJECTS


@pytest.mark.usefixtures("tuned")
def test_few_new_objects_cause_no_search() -> None:
    gc.collect()
    before = gc.get_stats()[0]["collections"]

    kept = [Cyclic() for _ in range(YOUNG_OBJECTS // 4)]

    assert kept
    assert gc.get_stats()[0]["collections"] == before


@pytest.mark.usefixtures("tuned")
def test_cycles_are_still_freed() -> None:
    lost = ref(Cyclic())

    kept = [Cyclic() for _ in range(2 * YOUNG_OBJECTS)]

    assert kept
    assert lost() is None
