"""The needs of the local system's processes: each names the others without which it does not work."""

from deploy.local.credentials import SERVICES
from deploy.local.postgres import server_of

WRONG = "wrong-"
"""The prefix of the processes of a wrong build."""


def needs_of(process: str) -> list[str]:
    """Return the processes without which one does not become ready, or cannot do its work."""
    if process == "audit":
        return [server_of(service) for service in SERVICES]
    if process.endswith("-archive"):
        return [server_of(process.removesuffix("-archive"))]
    service = process.removeprefix(WRONG)
    return [server_of(service), "kafka", "valkey"] if service in SERVICES else []
