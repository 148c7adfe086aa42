"""CI fails if it cannot run on Apache Kafka, the broker of production."""

import os
import subprocess
import sys
from pathlib import Path

from tests.architecture.source import CHECKOUT

NOWHERE = "http://127.0.0.1:9"


def test_ci_fails_before_any_check_if_apache_kafka_cannot_be_downloaded(tmp_path: Path) -> None:
    """The cache is empty and Maven Central cannot be reached. A stand-in for `make` records the targets."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$@" >>"$HOME/made"\n')
    make.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "HOME": str(tmp_path),
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
    }
    run = subprocess.run([CHECKOUT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout
    assert "FAILED: Apache Kafka is not in the cache" in run.stdout
    assert (tmp_path / "made").read_text().splitlines() == ["venv"]
