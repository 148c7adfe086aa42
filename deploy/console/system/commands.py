"""Changes of the page *System*: the processes of `make run` are started, stopped, killed and suspended."""

from collections.abc import Coroutine
from typing import Any

from deploy.console.system.schemas import ProcessAction
from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import ProcessStatus


def process_request(control: ControlClient, name: str, action: ProcessAction) -> Coroutine[Any, Any, ProcessStatus]:
    """Return the request for an action on a process. Awaiting it raises ControlError."""
    match action.action:
        case "suspend":
            return control.suspend(name, seconds=action.seconds)
        case "stop":
            return control.stop(name, force=action.force)
        case _:
            return {
                "start": control.start,
                "restart": control.restart,
                "kill": control.kill,
                "resume": control.resume,
            }[action.action](name)
