"""Daemons that part from a process in which the program is loaded already: a start costs a third of one from nothing.

Each is a process as any other: it has its own environment and output, can be signalled, killed and waited for.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from tests.support import nursery

ROOT: Final = Path(__file__).parents[2]
_LOOK_SECS: Final = 0.005


class Process(Protocol):
    """What tests do with a process they started, whoever started it."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; raises TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Signal it, if it runs."""

    def terminate(self) -> None:
        """Ask it to stop."""

    def kill(self) -> None:
        """Kill it."""


class Forked:
    """A process of the nursery."""

    def __init__(self, pid: int, words: Sequence[str], ending: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._words = list(words)
        self._ending = ending

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.returncode is None and self._ending.exists():
            self.returncode = int(self._ending.read_text())
            self._ending.unlink()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; raises TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self._words, timeout or 0)
            time.sleep(_LOOK_SECS)
        return code

    def send_signal(self, sig: int) -> None:
        """Signal it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


@cache
def _nursery() -> tuple[subprocess.Popen[str], Path]:
    """Whoever starts processes (it ends with this one, when its input does), and a folder for their exit codes."""
    process = subprocess.Popen(
        [sys.executable, nursery.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
    )
    folder = Path(tempfile.mkdtemp(prefix="strait-test-endings-"))
    atexit.register(_close, process, folder)
    return process, folder


def _close(process: subprocess.Popen[str], folder: Path) -> None:
    process.communicate()
    shutil.rmtree(folder, ignore_errors=True)


def fork(words: Sequence[str], env: Mapping[str, str], output: Path) -> Forked:
    """Start `python -m strait_daemon WORDS` with both streams appended to a file, in that file's folder."""
    process, folder = _nursery()
    ending = folder / str(time.monotonic_ns())
    asked = {
        "words": list(words), "environ": dict(env), "folder": str(output.parent),
        "output": str(output), "ending": str(ending),
    }  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()
    return Forked(int(process.stdout.readline()), words, ending)
