"""The HTTP server of a service: uvicorn, which reports itself as not ready before it closes its listener."""

import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from shared.settings import ServiceSettings
from shared.shutdown import Shutdown

KEEP_ALIVE_TIMEOUT_SECONDS = 75
"""Time for which an idle connection stays open: longer than at the gateway (`idleConnTimeout` in
deploy/gateway/dynamic.yaml), which must be the one to close it. If the service closes it while the gateway sends a
request, the client gets a 502; the gateway repeats no POST."""
SHUTDOWN_TIMEOUT_SECONDS = 10
"""Upper bound of the time for which a stopping process waits for its open requests."""


class Server(uvicorn.Server):
    """Keeps serving for a delay after the first SIGTERM or SIGINT; a second one ends the delay, a third everything.

    uvicorn itself closes its listener at once, while load balancers still send requests.
    """

    def __init__(self, config: uvicorn.Config, *, shutdown: Shutdown, shutdown_delay_seconds: float) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._shutdown_delay_seconds = shutdown_delay_seconds
        self._exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Handle a signal. Unlike in uvicorn, the process exits with 0 afterwards."""
        if self._exit_at is None:
            self._shutdown.begin()
            # Clients and gateways open new connections meanwhile, at an instance that stays.
            self.config.encoded_headers = [*self.config.encoded_headers, (b"connection", b"close")]
            self._exit_at = time.monotonic() + self._shutdown_delay_seconds
            self.should_exit = self._shutdown_delay_seconds == 0
        elif not self.should_exit:
            self.should_exit = True
        else:
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether to shut down now; uvicorn calls this ten times a second."""
        if self._exit_at is not None:
            # Not in the signal's handler, which may interrupt the writing of another line.
            self._shutdown.enter("readiness")
            self.should_exit = self.should_exit or time.monotonic() >= self._exit_at
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and wait for the open requests; then the lifespan ends."""
        self._shutdown.enter("listener")
        for server in self.servers:
            server.close()
        self._shutdown.enter("requests")
        await super().shutdown(sockets)


def server_of(app: FastAPI, settings: ServiceSettings, *, shutdown: Shutdown) -> Server:
    """Return the server of a service. `shutdown` begins at the first signal."""
    config = uvicorn.Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        ssl_certfile=settings.http_certificate_file,
        ssl_keyfile=settings.http_key_file,
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
    )
    return Server(config, shutdown=shutdown, shutdown_delay_seconds=settings.shutdown_delay_seconds)
