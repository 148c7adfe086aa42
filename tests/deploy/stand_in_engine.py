"""A stand-in for a Docker engine, with the part of its API that starts one container and reads its log."""

import json
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import create_server
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CONTAINER_ID = "c0ffee"
STREAM_NUMBERS = {"stdout": 1, "stderr": 2}


@dataclass
class Engine:
    """The engine's images, the behaviour of its container, and the requests that it got."""

    socket: Path
    images: frozenset[str]
    logs: Mapping[str, str]
    exits: bool = False
    publishes: bool = True
    created: dict[str, Any] = field(default_factory=dict)
    removed: bool = False
    published: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """The address for DOCKER_HOST."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Listen on the published ports. A real engine does so even before the server in the container listens."""
        for binding in (each for bindings in self.created["HostConfig"]["PortBindings"].values() for each in bindings):
            if self.publishes:
                address = (binding["HostIp"], int(binding["HostPort"]))
                self.published.enter_context(closing(create_server(address)))

    def log(self, stream: str) -> bytes:
        """Return one stream as the engine frames it."""
        text = self.logs.get(stream, "").encode()
        return struct.pack(">BxxxI", STREAM_NUMBERS[stream], len(text)) + text

    def inspection(self) -> dict[str, Any]:
        """Describe the container."""
        state = {"Status": "exited" if self.exits else "running", "ExitCode": int(self.exits)}
        log = {"LogConfig": {"Type": "json-file", "Config": {}}}
        return {"Id": CONTAINER_ID, "Config": {"Tty": False}, "State": state, "HostConfig": log, "Image": "sha256:1"}


@contextmanager
def running_engine(engine: Engine) -> Iterator[Engine]:
    """Serve the engine's API on its socket."""

    class Handler(_Handler):
        pass

    Handler.engine = engine
    with ThreadingUnixStreamServer(str(engine.socket), Handler) as server, engine.published:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield engine
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    engine: Engine

    def handle_one_request(self) -> None:
        self.client_address = ("engine", 0)
        super().handle_one_request()

    def do_GET(self) -> None:
        url = urlsplit(re.sub(r"^/v[\d.]+/", "/", self.path))
        if url.path == "/version":
            self._answer(200, {"ApiVersion": "1.41"})
        elif image := re.fullmatch(r"/images/(.+)/json", url.path):
            known = unquote(image[1]) in self.engine.images
            self._answer(200 if known else 404, {"Id": "sha256:1", "message": f"No such image: {image[1]}"})
        elif url.path == f"/containers/{CONTAINER_ID}/json":
            self._answer(200, self.engine.inspection())
        elif url.path == f"/containers/{CONTAINER_ID}/logs":
            wanted = [stream for stream in STREAM_NUMBERS if parse_qs(url.query).get(stream) == ["1"]]
            self._answer(200, b"".join(self.engine.log(stream) for stream in wanted))
        else:
            self._answer(404, {"message": self.path})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.endswith("/containers/create"):
            self.engine.created = json.loads(body)
            self._answer(201, {"Id": CONTAINER_ID, "Warnings": []})
        elif self.path.endswith("/start"):
            self.engine.start()
            self._answer(204, b"")
        else:
            self._answer(500, {"message": "no route to the registry"})

    def do_DELETE(self) -> None:
        self.engine.removed = parse_qs(urlsplit(self.path).query) == {
            "v": ["True"],
            "link": ["False"],
            "force": ["True"],
        }
        self._answer(204, b"")

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _answer(self, status: int, body: dict[str, Any] | bytes) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        # After a response without a body, the client may have closed the connection.
        if content:
            self.wfile.write(content)
