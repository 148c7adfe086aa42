"""The applications, created once per session: that takes a while."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.contracts.applications import applications


@pytest.fixture(scope="session")
def apps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FastAPI]:
    folder: Path = tmp_path_factory.mktemp("encryption-keys")
    return applications(folder)
