"""promtool, of Debian's package `prometheus`: `.ci/run` unpacks it into the cache, without the server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.kafka_jars import cache_folder


def run_promtool(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool, or skip the test where it is not installed; CI must have it."""
    program = shutil.which("promtool") or shutil.which("promtool", path=cache_folder() / "promtool")
    if program is None:
        assert "CI" not in os.environ, "CI needs promtool: see .ci/run"
        pytest.skip("promtool is not installed: see .ci/run")
    return subprocess.run(
        [program, *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
