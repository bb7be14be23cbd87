"""What processes cost: processor seconds and the most memory they ever held, read from ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Of a process, or of several that do the same."""

    processes: int
    cpu_seconds: float
    peak_mb: float
    """Of the largest process: VmHWM, so shared memory counts in each."""


def costs(roots: Mapping[str, int]) -> dict[str, Cost]:
    """What processes have cost so far, by name; a worker's children are counted apart from it.

    Args:
        roots: the process each name stands for; what descends from it is counted with it.
    """
    parents = _parents()
    found = {}
    for name, root in roots.items():
        below = _descendants(root, parents)
        if name.startswith("worker"):
            found[f"{name}, main"] = _cost([root], with_children=False)
            found[f"{name}, pool"] = _with_ended(_cost(below, with_children=True), root)
        else:
            found[name] = _cost([root, *below], with_children=True)
    return found


def spent(before: Mapping[str, Cost], after: Mapping[str, Cost]) -> dict[str, Cost]:
    """What was spent in between; the peak is that of the end."""
    return {
        name: cost._replace(cpu_seconds=cost.cpu_seconds - before[name].cpu_seconds)
        for name, cost in after.items()
        if name in before
    }


def children(pid: int) -> list[int]:
    """What a process has started, and what those have."""
    return _descendants(pid, _parents())


def resident_mb(pid: int) -> float:
    """What a process holds now."""
    return _status(pid).get("VmRSS", 0) / 1024


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    return parents


def _descendants(root: int, parents: Mapping[int, int]) -> list[int]:
    found: list[int] = []
    wave = {root}
    while wave:
        wave = {pid for pid, parent in parents.items() if parent in wave}
        found += wave
    return found


def _cost(pids: list[int], *, with_children: bool) -> Cost:
    ticks = 0
    peak = 0
    for pid in pids:
        if fields := _stat(pid):
            # utime and stime, and those of children which have ended and were waited for.
            ticks += sum(int(each) for each in fields[11 : 15 if with_children else 13])
            peak = max(peak, _status(pid).get("VmHWM", 0))
    return Cost(len(pids), ticks / _TICKS, round(peak / 1024, 1))


def _with_ended(pool: Cost, root: int) -> Cost:
    """A pool with its children that were replaced: what those cost stands with whoever waited for them."""
    ended = sum(int(each) for each in _stat(root)[13:15])
    return pool._replace(cpu_seconds=pool.cpu_seconds + ended / _TICKS)


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) for name, value in pairs if value.strip().endswith("kB")}
