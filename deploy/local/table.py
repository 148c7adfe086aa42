"""The table of what runs where, with the memory that it takes."""

from typing import Any

import psutil
from rich.table import Table

from deploy.local.credentials import SERVICES

MEGABYTE = 1024 * 1024


def memory_of(pid: int) -> int:
    """Bytes of a process and its children; pages that several share count once (PSS, where the system knows it)."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_memory(member) for member in family)


def system_table(state: dict[str, Any]) -> Table:
    """From the state file of a running system."""
    memory = {name: memory_of(process["pid"]) for name, process in state["processes"].items()}
    memory["supervisor"] = memory_of_self(state["pid"])
    table = Table("what", "where", "pid", "memory", "to look", box=None, header_style="bold", pad_edge=False)
    for name, process in state["processes"].items():
        restarts = f" ({process['restarts']} restarts)" if process["restarts"] else ""
        table.add_row(name + restarts, process["address"], str(process["pid"]), _shown(memory[name]), process["look"])
    for name, address in state["given"].items():
        table.add_row(name, address, "", "", "given by the environment")
    table.add_row("supervisor", "", str(state["pid"]), _shown(memory["supervisor"]), f"logs in {state['logs']}")
    services = sum(memory.get(name, 0) for name in SERVICES)
    table.add_section()
    table.add_row("all", "", "", _shown(sum(memory.values())), f"the three services together {_shown(services)}")
    return table


def memory_of_self(pid: int) -> int:
    """Without the children."""
    try:
        return _memory(psutil.Process(pid))
    except psutil.Error:
        return 0


def _memory(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", 0) or info.rss)


def _shown(size: int) -> str:
    return f"{size / MEGABYTE:.0f} MB"
