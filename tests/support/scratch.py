"""Where tests put what nobody keeps: in memory where there is plenty, for a database is a thousand files."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
# Several times what the servers of all test processes have ever needed together.
ENOUGH: Final = 8 * 1024**3


def scratch() -> Path:
    """The folder for temporary folders: in memory, or the usual one."""
    usual = Path(tempfile.gettempdir())
    if not MEMORY.is_mount() or not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return usual
    return MEMORY if min(shutil.disk_usage(MEMORY).free, _available()) >= ENOUGH else usual


def _available() -> int:
    """Bytes of memory that programs may still have; 0 where the system does not say."""
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return 0 if found is None else int(found[1]) * 1024
