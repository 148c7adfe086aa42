"""`make doctor` in a fresh clone names all that is missing, with its remedy, and its exit status reflects it."""

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import jgo.constants
import pytest

from deploy.doctor.machine import PORTS
from deploy.doctor.project import locked_index, uv_program, uv_version
from deploy.doctor.registries import MAVEN_CENTRAL
from deploy.local.kafka_jars import KAFKA_VERSION
from deploy.local.ports import free_port
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT

NOWHERE = "http://127.0.0.1:9"


class Clone:
    """A checkout without .venv, an empty cache, free ports, and a network that reaches this machine only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.cache = folder / "cache" / "orderly"
        self.cache.mkdir(parents=True)
        shutil.copytree(CHECKOUT / "deploy", self.folder / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "pyproject.toml", "uv.lock"):
            shutil.copy(CHECKOUT / name, self.folder)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(self.cache.parent),
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1",
            "PIP_CONFIG_FILE": os.devnull,
            **{name: str(free_port()) for name in PORTS},
        }

    def doctor(self, *, python: str | Path = sys.executable, **environment: str) -> tuple[int, dict[str, str]]:
        """Return the exit status, and each line by the name of its check."""
        # Without site-packages, unless a Python with its own pip is given.
        command = [python, *(["-S"] if python == sys.executable else []), "-m", "deploy.doctor"]
        run = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.stderr == ""
        lines = [line.split(": ", 1)[0].split(maxsplit=1) for line in run.stdout.splitlines()]
        return run.returncode, {
            name: f"{status}  {line.split(': ', 1)[1]}"
            for (status, name), line in zip(lines, run.stdout.splitlines(), strict=True)
        }

    def install_uv(self) -> None:
        """Put uv where `make venv` installs it."""
        program = self.cache / f"uv-{uv_version()}" / "bin" / "uv"
        program.parent.mkdir(parents=True)
        program.touch()

    def fetch_kafka(self) -> None:
        """Put the folder of jars where the first `make run` puts it."""
        (self.cache / f"kafka-{KAFKA_VERSION}").mkdir()

    def use_index(self, url: str) -> None:
        """Make a uv.lock of that index, which serves its files itself."""
        lock = self.folder / "uv.lock"
        text = lock.read_text().replace(locked_index(), f"{url}/simple")
        lock.write_text(text.replace("https://files.pythonhosted.org", url))


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_complete_machine_lacks_nothing(clone: Clone) -> None:
    clone.install_uv()
    clone.fetch_kafka()
    with _index() as url:
        clone.use_index(url)
        status, found = clone.doctor()

    assert status == 0
    assert {name for name, line in found.items() if not line.startswith("ok")} <= {"Docker"}
    assert found["Index of uv"] == f"ok  {url.removeprefix('http://')} and {url.removeprefix('http://')} answer"


def test_a_taken_port_is_named_with_its_variable(clone: Clone) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        port = holder.getsockname()[1]
        status, found = clone.doctor(ORDERLY_SMTP_PORT=str(port))

    assert status == 1
    assert found["Ports"].startswith(f"missing  another program listens on {port} (ORDERLY_SMTP_PORT);")


@pytest.mark.parametrize("port", ["abc", "0", "70000"])
def test_a_setting_that_is_not_a_port_is_named(clone: Clone, port: str) -> None:
    status, found = clone.doctor(ORDERLY_SMTP_PORT=port)

    assert status == 1
    assert found["Ports"] == f"missing  ORDERLY_SMTP_PORT={port}: a port is a number from 1 to 65535"


def test_ports_of_an_external_kafka_may_be_taken(clone: Clone) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        taken = str(holder.getsockname()[1])
        _, found = clone.doctor(ORDERLY_KAFKA_PORT=taken, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{taken}")

    assert found["Ports"] == "ok  all 14 are free"


def test_the_ports_of_our_own_running_system_are_no_error(clone: Clone) -> None:
    held = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
    held += "file.write('4711'); file.flush(); print(flush=True); sys.stdin.read()"
    lock = clone.folder / ".local" / "lock"
    lock.parent.mkdir()
    command = [sys.executable, "-c", held, str(lock)]
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as holder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running,
    ):
        assert running.stdout
        running.stdout.readline()
        _, found = clone.doctor(ORDERLY_SMTP_PORT=str(holder.getsockname()[1]))
        running.communicate()

    assert found["Ports"] == "ok  held by the running system (pid 4711); see `make status`"


@pytest.mark.parametrize("tool", ["make", "git"])
def test_a_tool_that_is_not_on_the_path_is_missing(clone: Clone, tmp_path: Path, tool: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for other in {"make", "git"} - {tool}:
        (tools / other).symlink_to(str(shutil.which(other)))

    status, found = clone.doctor(PATH=str(tools))

    assert status == 1
    assert f"apt install {tool}" in found[tool]
    assert {name for name in ("make", "git") if found[name].startswith("missing")} == {tool}
    assert found["Docker"].startswith("optional  Docker is not installed;")


def test_another_make_than_gnu_make_is_not_enough(clone: Clone, tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text("#!/bin/sh\necho 'BSD make'\n")
    make.chmod(0o755)

    _, found = clone.doctor(PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert found["make"] == "missing  GNU make is needed, and `make` is BSD make"


def test_registries_that_do_not_answer_are_named(clone: Clone) -> None:
    clone.use_index(NOWHERE)

    status, found = clone.doctor(PIP_INDEX_URL="http://name:secret@127.0.0.1:9/simple")

    assert status == 1
    assert found["Index of pip"] == "missing  127.0.0.1:9 does not answer; a mirror is set with PIP_INDEX_URL"
    assert found["Index of uv"].startswith("missing  127.0.0.1:9 does not answer;")
    assert found["Maven Central"].startswith("optional  ")
    assert clone.doctor(ORDERLY_KAFKA="apache")[1]["Maven Central"].startswith("missing  ")


def test_pip_is_asked_with_its_own_configuration(clone: Clone, tmp_path: Path) -> None:
    venv.create(tmp_path / "python", with_pip=True)
    python = tmp_path / "python" / "bin" / "python"
    configuration = tmp_path / "pip.conf"
    with _index() as url:
        configuration.write_text(f"[global]\nindex-url = {url}/simple\n")
        _, with_file = clone.doctor(python=python, PIP_CONFIG_FILE=str(configuration))
        _, with_variable = clone.doctor(python=python, PIP_INDEX_URL=f"{url}/simple")
        _, without_it = clone.doctor(python=python, PIP_INDEX_URL=f"{url}/another")

    assert with_file["Index of pip"] == with_variable["Index of pip"] == f"ok  has uv {uv_version()}"
    assert without_it["Index of pip"].startswith(f"missing  pip does not find uv {uv_version()};")


def test_an_index_other_than_that_of_the_lock_is_missing(clone: Clone, tmp_path: Path) -> None:
    configuration = tmp_path / "uv.toml"
    configuration.write_text(f'[[index]]\nurl = "{NOWHERE}/simple"\ndefault = true\n')

    for chosen in ({"UV_DEFAULT_INDEX": f"{NOWHERE}/simple"}, {"UV_CONFIG_FILE": str(configuration)}):
        status, found = clone.doctor(**chosen)
        assert status == 1
        assert f"names 127.0.0.1:9, but uv.lock was made from {locked_index()}" in found["Index of uv"]


def test_a_complete_venv_needs_no_index(clone: Clone) -> None:
    (clone.folder / ".venv").mkdir()
    (clone.folder / ".venv" / ".complete").touch()

    assert clone.doctor()[1]["Index of uv"] == "ok  not needed: .venv is complete"

    later = (clone.folder / ".venv" / ".complete").stat().st_mtime + 10
    os.utime(clone.folder / "uv.lock", (later, later))
    assert clone.doctor()[1]["Index of uv"].startswith("missing  ")


def test_an_unusable_machine_says_why_before_any_other_import() -> None:
    main = CHECKOUT / "deploy" / "doctor" / "__main__.py"
    ast.parse(main.read_text(), feature_version=(3, 6))
    for pretended, line in (
        ("version_info = (3, 6, 15, 'final', 0)", r"Python: 3.11 or newer is needed, and \S+ is 3\.6\.15\. .*"),
        ("platform = 'win32'", r"System: Linux or macOS is needed, and this is win32 \(on Windows: WSL\)"),
    ):
        pretend = f"import runpy, sys; sys.{pretended}; runpy.run_path(sys.argv[1], run_name='__main__')"
        run = subprocess.run([sys.executable, "-c", pretend, main], capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert re.fullmatch(rf"missing   {line}\n", run.stdout)


def test_it_looks_for_uv_where_the_makefile_installs_it() -> None:
    command = ["make", "--silent", "--eval", "where: ; @echo $(UV)", "where"]
    asked = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert Path(asked.stdout.strip()) == uv_program()


def test_make_doctor_runs_without_a_venv_and_without_a_python(clone: Clone) -> None:
    command = ["make", "--silent", "doctor"]
    for python, said in ((sys.executable, "ok        Python: "), ("no-such-python", "missing   Python: ")):
        run = subprocess.run(
            [*command, f"PYTHON={python}"],
            cwd=clone.folder,
            env=clone.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode, run.stdout
        assert said in run.stdout
        assert not (clone.folder / ".venv").exists()


def test_it_checks_the_ports_and_the_repository_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    assert {name: LocalSettings.model_fields[name.removeprefix("ORDERLY_").lower()].default for name in PORTS} == PORTS
    assert LocalSettings().ports().keys() == PORTS.keys()
    assert jgo.constants.MAVEN_CENTRAL_URL == MAVEN_CENTRAL


@contextmanager
def _index() -> Iterator[str]:
    """Serve a package index that has uv, and any file of any package."""
    page = f'<a href="uv-{uv_version()}-py3-none-any.whl">uv-{uv_version()}-py3-none-any.whl</a>'.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._begin()

        def do_GET(self) -> None:
            if self._begin():
                self.wfile.write(page)

        def _begin(self) -> bool:
            known = self.path.startswith(("/simple/", "/packages/"))
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            return known

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
