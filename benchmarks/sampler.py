"""Samples the stack of this process by the CPU time it uses, so that waiting for a busy core is not counted.

A sampler from outside (py-spy) takes a thread that is ready to run for one that runs; on a machine where the database
and the endpoint compete for the cores that puts a third of the time where there is none.
"""

from __future__ import annotations

import atexit
import signal
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

INTERVAL_SECS: Final = 0.001
# Work of the event loop's C code and the kernel, which has no frame of its own.
LOOP: Final = "event loop and kernel (loop)"


def start(path: Path) -> None:
    """Sample from now on; the collapsed stacks are written to `path` when the process ends."""
    stacks: Counter[tuple[object, ...]] = Counter()

    def sample(_number: int, frame: FrameType | None) -> None:
        # A signal that came while the loop's C code ran is heard as the next callback begins: at its first instruction.
        began = frame is not None and frame.f_lineno == frame.f_code.co_firstlineno and frame.f_lasti <= 4
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        from_loop = began and len(codes) > 1 and codes[1].co_name == "run" and "runners" in codes[1].co_filename
        stacks[(*codes[1:][::-1], LOOP) if from_loop else tuple(codes[::-1])] += 1

    def write() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_text("".join(f"{';'.join(map(_spelled, stack))} {times}\n" for stack, times in stacks.items()))

    signal.signal(signal.SIGPROF, sample)
    # Only calls of the kernel that Python makes are restarted by it; libraries in C expect the kernel to do so.
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECS, INTERVAL_SECS)
    atexit.register(write)


def _spelled(code: object) -> str:
    if isinstance(code, str):
        return code
    return f"{code.co_qualname} ({code.co_filename})"  # type: ignore[attr-defined]
