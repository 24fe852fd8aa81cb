"""CPU time of process trees, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything, so count from its end: field 3 (state) comes first.
    return text[text.rindex(")") + 2 :].split()


def _of_threads(pid: int, name: str) -> list[list[str]]:
    """The words of one /proc file of every thread; a process may end while we look."""
    found = []
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    for thread in threads:
        try:
            found.append((thread / name).read_text().split())
        except OSError:
            continue
    return found


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    pids = [pid]
    for children in _of_threads(pid, "children"):
        for child in children:
            pids += tree(int(child))
    return pids


def _run_ns(pid: int) -> int:
    """Time on a CPU of all live threads, in nanoseconds (schedstat is finer than the ticks of stat)."""
    return sum(int(words[0]) for words in _of_threads(pid, "schedstat"))


def spent(pid: int, *, alone: bool = False) -> float:
    """CPU seconds that a process tree (or the process alone) has used so far; of the tree, its ended children too."""
    total = 0.0
    for member in [pid] if alone else tree(pid):
        stat = _stat(member)
        if stat is None:
            continue
        run = _run_ns(member)
        own = run / 1e9 if run else (int(stat[11]) + int(stat[12])) * _TICK
        total += own + (0.0 if alone else (int(stat[13]) + int(stat[14])) * _TICK)
    return total


def resident(pid: int, *, alone: bool = False) -> int:
    """Resident memory of a process tree (or of the process alone), in bytes."""
    total = 0
    for member in [pid] if alone else tree(pid):
        try:
            fields = Path(f"/proc/{member}/statm").read_text().split()
        except OSError:
            continue
        total += int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def kernel_share(pid: int) -> float:
    """Of a process's CPU time, the share spent inside the kernel."""
    stat = _stat(pid)
    if stat is None:
        return 0.0
    user, system = int(stat[11]), int(stat[12])
    return system / max(1, user + system)
