"""What processes and folders are left of a server."""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil


def family(pid: int) -> set[int]:
    """Give a process and all that descend from it."""
    root = psutil.Process(pid)
    return {pid, *(child.pid for child in root.children(recursive=True))}


def mentioning(path: Path) -> set[int]:
    """Give the processes whose command line names a folder or anything in it."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if any(str(path) in word for word in process.info["cmdline"] or ()):
            found.add(process.pid)
    return found


def alive(pids: Iterable[int]) -> set[int]:
    """Give those of the processes that still run; a zombie does not."""
    return {pid for pid in pids if psutil.pid_exists(pid) and _runs(pid)}


def shared_memory_of(pids: set[int]) -> set[str]:
    """Give the System V segments that these processes made."""
    rows = (line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:])
    return {row[1] for row in rows if int(row[4]) in pids}


def soon(question: Callable[[], bool], *, seconds: float = 15.0) -> bool:
    """Ask until the answer is yes, or the time is over."""
    deadline = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def is_empty(folder: Path) -> bool:
    """Tell whether a folder holds nothing."""
    return not os.listdir(folder)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
