"""Check that packages and Apache Kafka can be downloaded, or are already here."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from deploy.doctor.finding import Finding, missing, ok, optional
from deploy.doctor.project import a_locked_wheel, is_venv_complete, locked_index, uv_program, uv_version
from deploy.local.kafka_jars import KAFKA_VERSION, jars_folder
from deploy.local.state import CHECKOUT

REQUEST_TIMEOUT_SECONDS = 10
PIP_TIMEOUT_SECONDS = 60
# Where jgo resolves from; a test compares the two.
MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"


def pip_index() -> Finding:
    """Check that uv can be installed. pip is asked, so its mirrors, proxies and certificates apply."""
    name = "Index of pip"
    if uv_program().exists():
        return ok(name, f"not needed: {uv_program()} is installed")
    if find_spec("pip") is None:
        # `make venv` then makes an environment with pip, which reads the same variable.
        index = os.environ.get("PIP_INDEX_URL") or locked_index()
        if not _answers(f"{index.rstrip('/')}/uv/"):
            return missing(name, f"{_host(index)} does not answer; a mirror is set with PIP_INDEX_URL")
        return ok(name, f"{_host(index)} answers")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries=0"]
    command += [f"--timeout={REQUEST_TIMEOUT_SECONDS}", "index", "versions", "uv"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return missing(name, "pip gets no answer; `pip config list` says which index it asks")
    if run.returncode or uv_version() not in run.stdout.replace(",", " ").split():
        return missing(
            name, f"pip does not find uv {uv_version()}; `pip config list` and PIP_INDEX_URL say which index it asks"
        )
    return ok(name, f"has uv {uv_version()}")


def uv_index() -> Finding:
    """Check that uv can fetch the locked packages. uv reads none of pip's configuration."""
    name = "Index of uv"
    if is_venv_complete():
        return ok(name, "not needed: .venv is complete")
    locked = locked_index()
    for source, index in _chosen_indexes():
        if index.rstrip("/") != locked.rstrip("/"):
            return missing(
                name,
                f"{source} names {_host(index)}, but uv.lock was made from {locked}, and `make venv` needs that index",
            )
    for url in (f"{locked.rstrip('/')}/uv/", a_locked_wheel()):
        if not _answers(url):
            return missing(name, f"{_host(url)} does not answer; behind a proxy, set HTTPS_PROXY")
    return ok(name, f"{_host(locked)} and {_host(a_locked_wheel())} answer")


def maven_central() -> Finding:
    """Check that Apache Kafka can be fetched. It is optional unless ORDERLY_KAFKA=apache forbids its stand-in."""
    name = "Maven Central"
    if jars_folder().is_dir():
        return ok(name, f"not needed: Apache Kafka {KAFKA_VERSION} is in {jars_folder()}")
    if _answers(f"{MAVEN_CENTRAL}/org/apache/kafka/kafka_2.13/{KAFKA_VERSION}/kafka_2.13-{KAFKA_VERSION}.pom"):
        return ok(name, f"{_host(MAVEN_CENTRAL)} answers")
    detail = f"{_host(MAVEN_CENTRAL)} does not answer; behind a proxy, set HTTPS_PROXY"
    if os.environ.get("ORDERLY_KAFKA") == "apache":
        return missing(name, detail)
    return optional(name, f"{detail}. Tansu stands in for Apache Kafka then; `.ci/run` fails")


def _chosen_indexes() -> Iterator[tuple[str, str]]:
    """Yield what configures an index for uv, and its URL. The environment comes before the files."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if index := os.environ.get(variable):
            yield variable, index
            return
    for file in _uv_configuration():
        if not file.is_file():
            continue
        content = tomllib.loads(file.read_text())
        named = [index["url"] for index in content.get("index", ()) if index.get("default")]
        if chosen := content.get("index-url") or next(iter(named), None):
            yield str(file), chosen
            return


def _uv_configuration() -> list[Path]:
    if file := os.environ.get("UV_CONFIG_FILE"):
        return [Path(file)]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [CHECKOUT / "uv.toml", home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]


def _answers(url: str) -> bool:
    """Return whether the server answers. A server that asks for a password or has no such file answers, too."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        with urlopen(Request(bare, method="HEAD"), timeout=REQUEST_TIMEOUT_SECONDS):  # noqa: S310 - a URL from our own files
            return True
    except HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False


def _host(url: str) -> str:
    """Return the host of a URL without the password that an index's URL may carry."""
    return urlsplit(url).netloc.rpartition("@")[2]
