"""The memory that processes use."""

from typing import Any

import psutil

MEGABYTE = 1024 * 1024


def memory_of_system(state: dict[str, Any]) -> dict[str, int]:
    """Return the bytes that each process of a running system uses, and its supervisor; `state`: its state file."""
    memory = {name: memory_of_tree(process["pid"]) for name, process in state["processes"].items()}
    return memory | {"supervisor": memory_of_process(state["pid"])}


def memory_of_tree(pid: int) -> int:
    """Return the bytes that a process and its descendants use; 0 if it has ended.

    Counts pages that several processes share once (proportional set size) where the operating system tells it.
    """
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_bytes_of(member) for member in tree)


def memory_of_process(pid: int) -> int:
    """Return the bytes that a process uses without its descendants; 0 if it has ended."""
    try:
        return _bytes_of(psutil.Process(pid))
    except psutil.Error:
        return 0


def _bytes_of(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", 0) or info.rss)
