"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path


def machine() -> dict[str, str]:
    """The processor, the cores, the memory, and the versions that matter."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.machine())
    kilobytes = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1])
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("celery", "kombu", "redis", "psycopg"))
    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{kilobytes / 1024**2:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
    }
