"""Stand-ins for the three services: they do only what `make run` needs of them."""

from pathlib import Path

SERVICE = """
import http.server, os, pathlib, signal, sys
name = __package__.split(".")[1]
notes = pathlib.Path(os.environ["NOTES"])

def note(text):
    with notes.open("a") as file:
        file.write(f"{name} {text}\\n")

if len(sys.argv) > 1:
    note(sys.argv[1])
    sys.exit(0)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = not self.path.endswith("no-such-resource")
        body = (name + " answers " + self.path).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass

def end(*_):
    note("stopped")
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ[name.upper() + "_HTTP_PORT"])), Handler).serve_forever()
"""


SET_UP = """
import os, pathlib, sys
with pathlib.Path(os.environ["NOTES"]).open("a") as file:
    file.write(f"all {sys.argv[1]}\\n")
"""


def write_services(folder: Path) -> None:
    """Write a package `services`. A process whose working folder is `folder` imports it instead of the real one."""
    for service in ("users", "orders", "notifications"):
        package = folder / "services" / service
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(SERVICE)
    (folder / "services" / "__init__.py").touch()
    (folder / "services" / "__main__.py").write_text(SET_UP)
