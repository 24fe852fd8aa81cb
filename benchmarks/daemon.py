"""`strait serve`, changed from outside for measuring; the product has no setting for any of these.

    python -m benchmarks.daemon [--null COUNTER] [--without-feed] [--stacks FILE]

--null: a dispatcher that calls nobody, so that our own work and PostgreSQL's is left; peers are measured with jobs that
do nothing in the same process, and this is the like of it. COUNTER: a file of 8 bytes, the number of calls so far.
--without-feed: no feed of changes is written or published, see feedless.py.
--stacks: sample what the process does, see sampler.py.
"""

from __future__ import annotations

import argparse
import mmap
import sys
from collections.abc import Mapping
from ctypes import c_uint64
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks import feedless, sampler
from strait_daemon import serve, wiring
from strait_daemon.egress.client import Answer, Timing


class NullClient:
    """Answers every call at once with an empty 200, and counts."""

    def __init__(self, counter: Path) -> None:
        with counter.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)
        self._calls = c_uint64.from_buffer(self._memory)

    async def post(self, _url: Any, _headers: Mapping[str, str], _body: bytes, timing: Timing, *_: Any) -> Answer:
        self._calls.value += 1
        timing.connected = timing.answered = timing.ended = monotonic()
        return Answer(200, {}, b"", False)

    async def close(self) -> None:
        """Nothing is open."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--null", type=Path)
    parser.add_argument("--without-feed", action="store_true")
    parser.add_argument("--stacks", type=Path)
    words = parser.parse_args()
    if words.null:
        client = NullClient(words.null)
        vars(wiring)["EgressClient"] = lambda *_: client
    if words.without_feed:
        feedless.apply()
    if words.stacks:
        sampler.start(words.stacks)
    return serve.serve()


if __name__ == "__main__":
    sys.exit(main())
