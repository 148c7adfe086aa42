"""CPU time and memory of the system's processes."""

from collections.abc import Mapping

import psutil

from deploy.local.memory import memory_of_tree

CLIENT = "client"
"""Name of this process, which places the orders, counts, and reads what the others log."""


def processor_ms(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU time of each process and its descendants since their start, in ms; also that of the client."""
    own = psutil.Process().cpu_times()
    return {name: _of_tree(pid) for name, pid in pids.items()} | {CLIENT: 1000 * (own.user + own.system)}


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return the CPU time between two readings."""
    return {name: value - before[name] for name, value in after.items()}


def memory_mb(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the memory of each process and its descendants in MB; pages that several share count once."""
    return {name: memory_of_tree(pid) / 2**20 for name, pid in pids.items()}


def _of_tree(pid: int) -> float:
    process = psutil.Process(pid)
    return 1000 * sum(_of_process(one) for one in [process, *process.children(recursive=True)])


def _of_process(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        # A backend that has just ended is part of its parent's sum.
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
