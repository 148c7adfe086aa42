"""The image of a service contains what the service needs to start, and nothing else."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.architecture.dockerfile import DOCKERFILE, copied_for, copy_into, is_sent_to_builder, stages
from tests.architecture.source import CHECKOUT, SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_each_copied_path_exists_and_is_sent_to_the_builder(service: str) -> None:
    sources = [copied.source for copied in copied_for(service)]

    assert [source for source in sources if not (CHECKOUT / source).exists()] == []
    assert [source for source in sources if not is_sent_to_builder(source)] == []


def test_secrets_and_data_are_not_sent_to_the_builder() -> None:
    paths = [".env", "deploy/secrets/admin_password", ".local/secrets/encryption-keys", ".git/config", "tests/a.py"]
    assert [path for path in paths if is_sent_to_builder(path)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_one_service_only(service: str) -> None:
    sources = {copied.source for copied in copied_for(service)}
    assert {source for source in sources if source.startswith("services/")} == {
        "services/__init__.py",
        f"services/{service}",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_be_imported_in_its_image_and_reports_missing_settings(service: str, tmp_path: Path) -> None:
    copy_into(tmp_path, copied_for(service))

    result = subprocess.run(
        [sys.executable, "-m", f"services.{service}", "serve"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert f"{service.upper()}_DATABASE_URL: is not set" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_setting_arms_a_failpoint_in_an_image(tmp_path: Path) -> None:
    copy_into(tmp_path, copied_for("orders"))
    names = "from shared.messaging.failpoints import NAMES, failpoint\nfor name in NAMES: failpoint(name)"
    variables = {"ORDERLY_FAILPOINTS": "relay.acked=kill", "ORDERS_FAILPOINTS": "relay.acked=kill"}

    result = subprocess.run(
        [sys.executable, "-c", names], cwd=tmp_path, env={"PATH": os.environ["PATH"], **variables}, check=False
    )

    assert result.returncode == 0
    assert not (tmp_path / "tests").exists()
    # Nothing in the image calls `arm`.
    callers = [path for path in tmp_path.rglob("*.py") if re.search(r"\bfailpoints\b.*\barm\b", path.read_text())]
    assert [path.relative_to(tmp_path) for path in callers] == []


def test_the_image_runs_as_a_numeric_user_and_is_stopped_by_sigterm() -> None:
    last = {instruction.name: instruction.arguments for instruction in stages()["service"]}

    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last["USER"])
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert "probe.py" in last["HEALTHCHECK"]
    assert "exec python" in last["ENTRYPOINT"]


def test_a_build_that_names_no_stage_builds_the_service() -> None:
    assert DOCKERFILE.read_text().splitlines()[-1] == "FROM service"


@pytest.mark.parametrize("stage", ["builder", "tools-builder", "backup-builder"])
def test_the_image_can_be_read_by_its_user_whatever_the_modes_of_the_checkout(stage: str, tmp_path: Path) -> None:
    """COPY keeps modes, and a strict umask allows the owner alone to read the files of a checkout."""
    command = next(each.arguments for each in reversed(stages()[stage]) if "chmod" in each.arguments)
    *_, paths = re.findall(r"chmod -R u=rwX,go=rX (.*)", command)
    for path in paths.split():
        (tmp_path / path).mkdir(mode=0o700)
        (tmp_path / path / "file.py").touch(mode=0o600)

    subprocess.run(["/bin/sh", "-c", command.rpartition("&& ")[2]], cwd=tmp_path, check=True)

    copied = {each.target.split("/")[0] for each in copied_for("users") if stage == "builder"} or {"deploy"}
    assert copied - {""} == set(paths.split())
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("file.py")} == {"0o644"}
    assert {oct((tmp_path / path).stat().st_mode & 0o777) for path in paths.split()} == {"0o755"}


def test_the_image_does_not_contain_the_tools_that_build_it() -> None:
    last = stages()["service"]
    assert [instruction for instruction in last if re.search(r"\b(pip|uv|apt-get)\b", instruction.arguments)] == []


def test_the_image_and_the_makefile_pin_one_uv() -> None:
    pins = [
        re.search(pattern, path.read_text(), flags=re.MULTILINE)
        for path, pattern in (
            (DOCKERFILE, r"^ARG UV_VERSION=(\S+)$"),
            (CHECKOUT / "Makefile", r"^UV_VERSION := (\S+)$"),
        )
    ]
    assert None not in pins
    assert len({pin[1] for pin in pins if pin}) == 1


@pytest.mark.parametrize(("answer", "exit_status"), [(200, 0), (503, 1)])
def test_the_probe_reports_the_health_of_the_service(answer: int, exit_status: int) -> None:
    with _answering(lambda path: answer if path == "/health/ready" else 404) as port:
        assert _probe(port, "ready") == exit_status
        assert _probe(port, "live") == 1


def test_the_probe_fails_if_nothing_listens() -> None:
    with _answering(lambda _: 200) as port:
        pass
    assert _probe(port, "live") == 1


def _probe(port: int, kind: str) -> int:
    command = [sys.executable, "-IS", str(CHECKOUT / "deploy" / "probe.py"), kind]
    return subprocess.run(command, env={"SERVICE": "users", "USERS_HTTP_PORT": str(port)}, check=False).returncode


@contextmanager
def _answering(status_of: Callable[[str], int]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status_of(self.path))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
