"""The gateway: Traefik with the routes of deploy/gateway/, which compose uses too."""

import re
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import LocalError, Program
from deploy.local.readiness import http_answers

SOURCE = Path(__file__).parents[1] / "gateway"


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One Traefik. `service_urls` maps each service to its URL."""

    folder: Path
    port: int
    health_port: int
    service_urls: Mapping[str, str]
    requests_per_second: int

    def program(self) -> Program:
        """Return the program that runs the gateway."""
        return Program(
            name="gateway",
            command=[Path(sysconfig.get_path("scripts"), "traefik"), f"--configfile={self._static_configuration()}"],
            environment={
                **{f"{service.upper()}_URL": url for service, url in self.service_urls.items()},
                "GATEWAY_REQUESTS_PER_SECOND": str(self.requests_per_second),
            },
            ready=lambda: http_answers(self.health_port, "/ping"),
            address=f"http://127.0.0.1:{self.port}",
            notes="the API, such as /v1/products",
            echo=re.compile(r'"level":"(warn|error|fatal)"'),
        )

    def _static_configuration(self) -> Path:
        """Write the static configuration with this machine's addresses: Traefik allows no variables in it."""
        text = (SOURCE / "traefik.yaml").read_text()
        for there, here in {
            'address: ":8080"': f'address: "127.0.0.1:{self.port}"',
            'address: ":8081"': f'address: "127.0.0.1:{self.health_port}"',
            "filename: /etc/traefik/dynamic.yaml": f"filename: {SOURCE / 'dynamic.yaml'}",
        }.items():
            if text.count(there) != 1:
                raise LocalError(f"{SOURCE / 'traefik.yaml'} must contain {there!r} exactly once")
            text = text.replace(there, here)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "traefik.yaml"
        path.write_text(text)
        return path
