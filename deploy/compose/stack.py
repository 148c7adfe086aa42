"""Start, stop and remove the stack of deploy/compose.yaml.

Only the standard library: `make up` needs no virtual environment.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.compose.engine import (
    COMPOSE_FILE,
    ComposeError,
    compose_command,
    engine_versions,
    lines_of,
    objects_of_project,
    project_name,
)
from deploy.compose.secret_files import SERVICES, missing_secrets, write_secrets
from deploy.local.listening import can_listen

ADMIN_EMAIL = "admin@orderly.example"
PORTS = {"ORDERLY_GATEWAY_PORT": 8080, "ORDERLY_MAIL_PAGE_PORT": 8025, "ORDERLY_CONSOLE_PORT": 8090}
GRAFANA_PORT = {"ORDERLY_GRAFANA_PORT": 3000}
OBSERVABILITY = "observability"
"""The profile with Prometheus, Grafana and Jaeger."""
COLLECTOR = "http://console:4318"
"""The address at which the console takes traces and logs."""
TRACE_STORE = "http://jaeger:4318"
"""The address at which the Jaeger of the profile takes traces, from the console."""
MAX_PORT = 65535
LOG_LINES = 20
START_TIMEOUT_SECONDS = 300
# These store passwords.
VOLUMES_WITH_PASSWORDS = (*(f"{service}-postgres" for service in SERVICES), "kafka")


def up(secrets_folder: Path) -> int:
    """Build and start the stack, wait until it is ready, and say where everything is. Return the exit status."""
    engine_versions()
    os.environ.setdefault("OTLP_ENDPOINT", COLLECTOR)
    if _has_observability():
        os.environ.setdefault("OTLP_FORWARD_ENDPOINT", TRACE_STORE)
    _check_no_other_clone()
    ports = _ports()
    _check_ports(ports)
    _ensure_secrets(secrets_folder)
    os.environ.update(_gateway_tracing())
    wait = ["--wait", "--wait-timeout", str(START_TIMEOUT_SECONDS)]
    command = compose_command("up", "--build", "--detach", "--remove-orphans", *wait, with_file=True)
    started = subprocess.run(command, check=False)
    if started.returncode:
        _print_failures()
        return started.returncode
    # What the build has replaced. It fails while another command removes images, which is no failure of `make up`.
    label = f"label=orderly.project={project_name()}"
    subprocess.run(["docker", "image", "prune", "--force", "--filter", label], capture_output=True, check=False)
    print(_addresses(ports, secrets_folder))
    return 0


def down() -> int:
    """Stop the stack and keep its data. Return the exit status."""
    return subprocess.run(compose_command("down", "--remove-orphans"), check=False).returncode


def logs() -> int:
    """Follow the containers' output."""
    return subprocess.run(compose_command("logs", "--follow"), check=False).returncode


def demo(options: list[str]) -> int:
    """Run the demo in a container beside the stack, which has to run. Return the exit status."""
    engine_versions()
    if "gateway" not in objects_of_project(("ps",), '{{.Label "com.docker.compose.service"}}'):
        raise ComposeError(f"The stack {project_name()} does not run. Start it: make up")
    command = compose_command("run", "--rm", "--no-deps", "demo", *options, with_file=True)
    return subprocess.run(command, check=False).returncode


def reset(secrets_folder: Path) -> int:
    """Remove the stack with its data and passwords. Return the exit status."""
    down = subprocess.run(compose_command("down", "--remove-orphans", "--volumes"), check=False)
    # Without containers, compose does not know the volumes any more.
    if down.returncode == 0 and (volumes := objects_of_project(("volume", "ls"), "{{.Name}}")):
        lines_of("docker", "volume", "rm", *volumes)
    if down.returncode == 0:
        shutil.rmtree(secrets_folder, ignore_errors=True)
    return down.returncode


def _check_no_other_clone() -> None:
    here = str(COMPOSE_FILE.parent)
    folders = set(
        objects_of_project(("ps", "--all"), '{{.Label "com.docker.compose.project.working_dir"}}'),
    ) - {here, ""}
    if folders:
        raise ComposeError(
            f"A stack named {project_name()} belongs to {', '.join(sorted(folders))}. Stop it there (make down), or"
            " give this one its own name and ports: COMPOSE_PROJECT_NAME=... ORDERLY_GATEWAY_PORT=..."
            " ORDERLY_MAIL_PAGE_PORT=... make up"
        )


def _has_observability() -> bool:
    return OBSERVABILITY in os.environ.get("COMPOSE_PROFILES", "").split(",")


def _gateway_tracing() -> dict[str, str]:
    """Return what lets the gateway send its spans to the collector of the services, if there is one."""
    endpoint = os.environ.get("OTLP_ENDPOINT", "").rstrip("/")
    if not endpoint:
        return {}
    return {
        "TRAEFIK_TRACING_OTLP_HTTP_ENDPOINT": f"{endpoint}/v1/traces",
        "TRAEFIK_TRACING_SERVICENAME": "gateway",
    }


def _ports() -> dict[str, int]:
    wanted = PORTS | GRAFANA_PORT if _has_observability() else PORTS
    given = {name: os.environ.get(name) or str(default) for name, default in wanted.items()}
    for name, value in given.items():
        if not (value.isdecimal() and 1 <= int(value) <= MAX_PORT):
            raise ComposeError(f"{name}={value}: a port is a number from 1 to {MAX_PORT}")
    return {name: int(value) for name, value in given.items()}


def _check_ports(ports: dict[str, int]) -> None:
    """Raise ComposeError if another program listens on a port. Those of the running stack are its own."""
    published = " ".join(objects_of_project(("ps",), "{{.Ports}}"))
    taken = [
        f"Port {port} is in use. Set {name} to another port."
        for name, port in ports.items()
        if f":{port}->" not in published and not can_listen(port)
    ]
    if taken:
        raise ComposeError("\n".join(taken))


def _ensure_secrets(folder: Path) -> None:
    """Make missing passwords, unless the data was made with those that are missing."""
    missing = missing_secrets(folder)
    volumes = objects_of_project(("volume", "ls"), '{{.Label "com.docker.compose.volume"}}')
    if missing and set(volumes) & set(VOLUMES_WITH_PASSWORDS):
        lost = f"{folder} lacks {', '.join(missing)}" if folder.exists() else f"{folder} does not exist"
        raise ComposeError(
            f"{lost}, but the data of the stack {project_name()} exists, and new passwords"
            " would not open it. Restore the files, delete the data (make up-reset), or start another stack"
            " (COMPOSE_PROJECT_NAME=... make up)."
        )
    if write_secrets(folder):
        print(f"Wrote new passwords to {folder}.", flush=True)


def _print_failures() -> None:
    """Print the last lines of each container that has failed."""
    for container in _containers():
        has_failed = container["State"] == "restarting" or container.get("ExitCode")
        if has_failed or container.get("Health") == "unhealthy":
            print(f"\n{container['Service']} ({container['Status']}), its last lines:", file=sys.stderr)
            command = ["docker", "logs", "--tail", str(LOG_LINES), container["Name"]]
            logs = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            print("".join(f"  {line}\n" for line in logs.stdout.splitlines()), end="", file=sys.stderr)
    print("\nThe stack is not ready. `make logs` shows everything, `make down` stops what runs.", file=sys.stderr)


def _containers() -> list[dict[str, Any]]:
    lines = lines_of(*compose_command("ps", "--all", "--format", "json"))
    # A line per container; older versions print one array.
    found = [json.loads(line) for line in lines if line.strip()]
    return found[0] if found and isinstance(found[0], list) else found


def _addresses(ports: dict[str, int], secrets_folder: Path) -> str:
    gateway, mails = ports["ORDERLY_GATEWAY_PORT"], ports["ORDERLY_MAIL_PAGE_PORT"]
    password = os.path.relpath(secrets_folder / "grafana_password")
    grafana = ports.get("ORDERLY_GRAFANA_PORT")
    boards = [f"  boards    http://127.0.0.1:{grafana}, as admin; the password is in {password}"] if grafana else []
    return "\n".join(
        [
            "",
            f"  API       http://127.0.0.1:{gateway}, such as http://127.0.0.1:{gateway}/v1/products",
            f"  accounts  http://localhost:{gateway}/account",
            f"  console   http://127.0.0.1:{ports['ORDERLY_CONSOLE_PORT']}, for admins",
            f"  mails     http://127.0.0.1:{mails}",
            *boards,
            f"  admin     {ADMIN_EMAIL}; the password is in {os.path.relpath(secrets_folder / 'admin_password')}",
            f"  commands  docker compose -p {project_name()} exec orders python -m services.orders --help",
            "  logs      make logs",
            "  stop      make down (keeps the data); make up-reset (deletes the data)",
        ]
    )
