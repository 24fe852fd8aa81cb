"""The machine a figure was measured on, without its name or its paths."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from strait_daemon.embedded import PostgresServer

_PACKAGES = ("aiohttp", "msgspec", "psycopg", "starlette", "uvicorn", "uvloop")


def describe(server: PostgresServer) -> dict[str, Any]:
    """Cores, kernel, versions, and how long a write takes to be durable here."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "postgresql": server.version,
        "packages": {name: version(name) for name in _PACKAGES},
        "fdatasync_ms": round(_sync_ms(), 3),
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _sync_ms(times: int = 100) -> float:
    """The median time of appending 8 KiB and making them durable, where the database lies."""
    waits = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(bytes(8192))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - began)
    return median(waits) * 1000
