"""The gateway: Traefik with the routes of deploy/gateway/, which compose uses too."""

import re
import ssl
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import Program
from deploy.local.readiness import http_mentions

SOURCE = Path(__file__).parents[1] / "gateway"
_MEMORY = {"GOMEMLIMIT": "40MiB", "GOGC": "50"}
"""Go's runtime collects garbage earlier, and all the more above the limit, which does not count its code."""


@dataclass(frozen=True, kw_only=True)
class GatewayTls:
    """The certificate of the entry point, and the CA of the services' certificates if their URLs are https."""

    certificate_file: Path
    key_file: Path
    services_ca_file: Path

    def environment(self) -> dict[str, str]:
        """Return the variables of deploy/gateway/dynamic.yaml, and the one that lets the entry point speak TLS."""
        return {
            "GATEWAY_CERTIFICATE_FILE": str(self.certificate_file),
            "GATEWAY_KEY_FILE": str(self.key_file),
            "GATEWAY_SERVICES_CA_FILE": str(self.services_ca_file),
            "TRAEFIK_ENTRYPOINTS_WEB_HTTP_TLS": "true",
        }


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One Traefik. `service_urls` maps each service to its URL, or to several that are separated by commas."""

    port: int
    health_port: int
    service_urls: Mapping[str, str]
    requests_per_second: int
    trusted_proxies: str = ""
    """Addresses or networks of proxies in front of the gateway, separated by commas."""
    tls: GatewayTls | None = None
    otlp_endpoint: str | None = None
    """Base URL of the collector that Traefik sends its spans to."""

    def program(self) -> Program:
        """Return the program that runs the gateway."""
        scheme = "https" if self.tls else "http"
        return Program(
            name="gateway",
            command=[Path(sysconfig.get_path("scripts"), "traefik")],
            environment={
                **static_configuration(),
                **_MEMORY,
                "TRAEFIK_ENTRYPOINTS_WEB_ADDRESS": f"127.0.0.1:{self.port}",
                "TRAEFIK_ENTRYPOINTS_INTERNAL_ADDRESS": f"127.0.0.1:{self.health_port}",
                "TRAEFIK_ENTRYPOINTS_WEB_FORWARDEDHEADERS_TRUSTEDIPS": self.trusted_proxies,
                "TRAEFIK_PROVIDERS_FILE_FILENAME": str(SOURCE / "dynamic.yaml"),
                **{f"{service.upper()}_URL": url for service, url in self.service_urls.items()},
                "GATEWAY_REQUESTS_PER_SECOND": str(self.requests_per_second),
                **(self.tls.environment() if self.tls else {}),
                **(tracing(self.otlp_endpoint) if self.otlp_endpoint else {}),
            },
            # Traefik reads plugins-local/ there.
            working_folder=SOURCE,
            ready=self._has_routes,
            address=f"{scheme}://127.0.0.1:{self.port}",
            notes=f"the API, such as /v1/products; accounts: {scheme}://localhost:{self.port}/account",
            echo=re.compile(r'"level":"(warn|error|fatal)"'),
        )

    async def _has_routes(self) -> bool:
        """Return whether Traefik has loaded its routes. Before, it serves already, and its 404 is plain text."""
        tls = None
        if self.tls is not None:
            tls = ssl.create_default_context(cafile=self.tls.services_ca_file)
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        return await http_mentions(self.port, "/", b"application/problem+json", tls=tls)


def tracing(otlp_endpoint: str) -> dict[str, str]:
    """Return the variables that let Traefik begin traces, and send its spans to a collector."""
    return {
        "TRAEFIK_TRACING_OTLP_HTTP_ENDPOINT": f"{otlp_endpoint.rstrip('/')}/v1/traces",
        "TRAEFIK_TRACING_SERVICENAME": "gateway",
    }


def static_configuration() -> dict[str, str]:
    """Return Traefik's static configuration: environment variables, the same for `make run`, compose and Kubernetes."""
    lines = (SOURCE / "traefik.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
