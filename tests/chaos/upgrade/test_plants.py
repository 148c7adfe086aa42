"""The planted versions can still be made of this code, and differ from it where they should."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from deploy.local.state import CHECKOUT
from tests.chaos.upgrade.evidence import REQUIRED_FINDINGS
from tests.chaos.upgrade.plants import EVENTS, ORDERS, PLANTS, Edit, Plant, PlantFailed, make


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in (EVENTS, ORDERS):
        shutil.copytree(CHECKOUT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
def test_a_planted_version_is_code(plant: Plant, copy: Path) -> None:
    for change in plant.changes:
        make(change, copy)

    for path in copy.rglob("*.py"):
        ast.parse(path.read_text())
    for path in copy.rglob("*.json"):
        json.loads(path.read_text())
    assert plant.violates <= REQUIRED_FINDINGS


def test_there_is_a_compatible_plant_and_three_incompatible_ones() -> None:
    assert {name: bool(plant.violates) for name, plant in PLANTS.items()} == {
        "migration": True,
        "event": True,
        "cache": True,
        "compatible": False,
    }


def test_a_plant_that_does_not_fit_the_code_is_no_silent_success(copy: Path) -> None:
    with pytest.raises(PlantFailed, match="0 times, not once"):
        make(Edit(ORDERS / "models.py", "a text that the file does not have", ""), copy)
