"""`strait serve` with a dispatcher that calls nobody: what is left is our own work and PostgreSQL's.

Peers are measured with jobs that do nothing in the same process; this is the like of it. It is no setting of the
product: the wiring's HTTP client is replaced here, everything else is as served.

    python -m benchmarks.daemon COUNTER     COUNTER: a file of 8 bytes that holds the number of calls so far
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Mapping
from ctypes import c_uint64
from pathlib import Path
from time import monotonic
from typing import Any

from strait_daemon import serve, wiring
from strait_daemon.egress.client import Answer, Timing


class NullClient:
    """Answers every call at once with an empty 200, and counts."""

    def __init__(self, counter: Path) -> None:
        with counter.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)
        self._calls = c_uint64.from_buffer(self._memory)

    async def post(self, _url: Any, _headers: Mapping[str, str], _body: bytes, timing: Timing) -> Answer:
        self._calls.value += 1
        timing.connected = timing.answered = timing.ended = monotonic()
        return Answer(200, {}, b"", False)

    async def close(self) -> None:
        """Nothing is open."""


def main() -> int:
    client = NullClient(Path(sys.argv[1]))
    vars(wiring)["EgressClient"] = lambda: client
    return serve.serve()


if __name__ == "__main__":
    sys.exit(main())
