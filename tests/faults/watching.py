"""People who watch: many in a few programs (crowd.py), and some who listen to everything, with the installed command."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.daemon import SECRET, environment, strait_command

Move = tuple[int, str]


@dataclass
class Watched:
    """What one watcher has heard so far: of a run the states `told` by streams and those `shown`, each with its seq.

    Of a workflow run the states `heard` from streams and those `moved` to on the screen, and what was shown of its steps.
    So many `streams` have begun, and `lost` of them were told to be lost.
    """

    told: list[Move] = field(default_factory=list)
    shown: list[Move] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    steps: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    streams: int = 0
    lost: int = 0
    is_over: bool = False
    fault: str | None = None

    def hear(self, what: str, *words: Any) -> None:
        """Take what crowd.py says of it."""
        match what:
            case "told":
                self.told.append((words[0], words[1]))
            case "shown":
                self.shown.append((words[0], words[1]))
            case "heard":
                self.heard.append(words[0])
            case "moved":
                self.moved.append(words[0])
            case "step":
                self.steps[words[0]].append(words[1])
            case "stream":
                self.streams += 1
            case "lost":
                self.lost += 1
            case "over":
                self.is_over = True
            case "fault":
                self.fault = words[0]


@dataclass
class Crowd:
    """All who watch one run or workflow run each."""

    of: dict[str, Watched]

    @property
    def gone(self) -> list[str]:
        """Those that gave up, and why."""
        return [f"{about}: {one.fault}" for about, one in self.of.items() if one.fault]

    @property
    def left(self) -> list[str]:
        """Those that have not seen the end of what they watch; a watcher that gave up is a failure."""
        assert self.gone == []
        return [about for about, one in self.of.items() if not one.is_over]

    @property
    def streams(self) -> dict[str, int]:
        """How many streams have begun, of each that is watched still."""
        return {about: self.of[about].streams for about in self.left}


@dataclass
class Listener:
    """One who listens to everything: the moves that the command has shown, in their order."""

    process: subprocess.Popen[bytes]
    shown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def heard(self) -> dict[str, list[Move]]:
        """The states shown of each run and workflow run, each with its seq."""
        found: defaultdict[str, list[Move]] = defaultdict(list)
        for move in self.shown:
            found[move.get("run_id") or move["workflow_run_id"]].append((move["seq"], move["status"]))
        return found


@contextmanager
def crowding(url: str, about: Sequence[str], programs: int) -> Iterator[Crowd]:
    """A watcher of each of these, in so many programs, for as long as the block."""
    crowd = Crowd({one: Watched() for one in about})

    def hear(said: Any) -> None:
        crowd.of[said[0]].hear(*said[1:])

    with ExitStack() as stack:
        for number in range(programs):
            program = stack.enter_context(_saying([sys.executable, "-m", "tests.faults.crowd"], url, hear))
            assert program.stdin is not None
            program.stdin.write("".join(f"{one}\n" for one in about[number::programs]).encode())
            program.stdin.close()
        yield crowd


@contextmanager
def listening(url: str) -> Iterator[Listener]:
    """`strait listen` for as long as the block."""
    shown: list[dict[str, Any]] = []
    with _saying([*strait_command(), "listen", "-o", "jsonl"], url, shown.append) as process:
        yield Listener(process, shown)
        assert process.poll() is None, "it has given up"


@contextmanager
def _saying(words: Sequence[str], url: str, hear: Callable[[Any], None]) -> Iterator[subprocess.Popen[bytes]]:
    """A client of the daemon at `url`; each line that it writes is heard, in a thread."""
    with tempfile.TemporaryDirectory(prefix="strait-test-") as home:
        env = environment(Path(home), {"STRAIT_SERVER": url, "STRAIT_API_KEY": SECRET})
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(list(words), env=env, cwd=home, **pipes) as process:
            assert process.stdout is not None
            thread = threading.Thread(target=_hear, args=(process.stdout, hear), daemon=True)
            thread.start()
            try:
                yield process
            finally:
                process.kill()
                thread.join(10)


def _hear(lines: Iterator[bytes], hear: Callable[[Any], None]) -> None:
    for line in lines:
        hear(json.loads(line))
