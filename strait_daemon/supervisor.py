"""`serve --processes N`: one supervisor, N worker processes and, unless the mode is worker, one API process.

The processes share nothing but the database and the listening socket, which stays open here, so a connection waits
while a dead process is replaced. A replacement knows the worker id of its dead predecessor and recovers its attempts at
once, because nobody can doubt that it is dead. Each process reads a pipe from here: its end says that the supervisor is
gone, and the process drains.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

import structlog

from strait_daemon.exposition import socket_of
from strait_daemon.settings import Mode, Settings

# Beyond the drain: closing connections, writing the last endings, leaving.
STOP_EXTRA_SECS: Final = 25.0
EXIT_CONFIG: Final = 3
# A process that dies sooner than this after its start is replaced with a growing pause.
HEALTHY_SECS: Final = 10.0
_LONGEST_PAUSE: Final = 10.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Child:
    """One process to keep running; `worker_id` is the present one's, None for the API."""

    mode: Mode
    sock: socket.socket | None
    number: int
    inner: socket.socket | None
    worker_id: UUID | None = None
    predecessor: UUID | None = None
    process: asyncio.subprocess.Process | None = None
    pause: float = field(default=0.1)

    def command(self) -> list[str]:
        """What to execute; secrets and all other settings come by the environment."""
        words = [sys.executable, "-m", "strait_daemon", "serve", "--mode", self.mode.value, "--supervised"]
        if self.sock is not None:
            words += ["--socket", str(self.sock.fileno())]
        if self.inner is not None:
            folder = Path(self.inner.getsockname()).parent
            words += ["--number", str(self.number), "--siblings", str(folder)]
            words += ["--inner-socket", str(self.inner.fileno())]
        if self.worker_id is not None:
            words += ["--worker-id", str(self.worker_id)]
        if self.predecessor is not None:
            words += ["--predecessor", str(self.predecessor)]
        return words


@contextmanager
def inner_sockets(count: int) -> Iterator[list[socket.socket | None]]:
    """Sockets on which the processes ask each other for their figures; None where there can be none.

    They stay open here, as the listening one does, in a folder that only this user can enter.
    """
    with ExitStack() as stack:
        sockets: list[socket.socket | None] = []
        try:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="strait-serve-")))
            for number in range(count):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.bind(str(socket_of(folder, number)))
                sock.listen()
                sockets.append(sock)
        except OSError as error:
            log.warning("metrics_apart", detail="each process shows its own figures only", error=str(error))
            sockets = [None] * count
        yield sockets


def processes_of(settings: Settings) -> int:
    """How many processes a supervisor keeps running: the workers, and the API unless the mode is worker."""
    return settings.processes + (settings.mode is Mode.ALL) if settings.mode is not Mode.API else 1


class Supervisor:
    """Keeps the processes running until it is told to stop; `inner` has a socket for each, or None."""

    def __init__(self, settings: Settings, sock: socket.socket, inner: Sequence[socket.socket | None]) -> None:
        self._stop_secs = settings.drain_timeout + STOP_EXTRA_SECS
        self._stopping = asyncio.Event()
        self._failed = 0
        modes = [Mode.WORKER if settings.mode is Mode.WORKER else Mode.API, *[Mode.WORKER] * (len(inner) - 1)]
        self._children = [
            # Workers beside an API have nothing to listen on.
            _Child(mode, sock if number == 0 or settings.mode is Mode.WORKER else None, number, inner[number])
            for number, mode in enumerate(modes)
        ]

    async def run(self, announce: Callable[[], None]) -> int:
        """Start everything and wait; the exit code: 0 after a clean stop, else the first one that was not 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal)
        announce()
        await asyncio.gather(*map(self._keep_running, self._children))
        return self._failed

    def _signal(self) -> None:
        """Hand a signal on; the second one makes the processes stop at once."""
        self._stopping.set()
        for child in self._children:
            if child.process is not None and child.process.returncode is None:
                child.process.terminate()

    async def _keep_running(self, child: _Child) -> None:
        while not self._stopping.is_set():
            started = monotonic()
            code = await self._run_once(child)
            if self._stopping.is_set():
                self._failed = self._failed or (max(0, code))
                return
            log.error("process_died", mode=child.mode.value, exit_code=code)
            if code == EXIT_CONFIG and child.predecessor is None:
                # What keeps it from starting at all will not go away by trying again.
                self._failed = code
                self._signal()
                return
            await self._pause(child, monotonic() - started)

    async def _pause(self, child: _Child, lived: float) -> None:
        child.predecessor = child.worker_id
        child.pause = 0.1 if lived > HEALTHY_SECS else min(child.pause * 2, _LONGEST_PAUSE)
        try:
            await asyncio.wait_for(self._stopping.wait(), child.pause)
        except TimeoutError:
            return

    async def _run_once(self, child: _Child) -> int:
        """One life of a process; its exit code, negative for a signal."""
        if child.mode is Mode.WORKER:
            child.worker_id = uuid4()
        child.process = await asyncio.create_subprocess_exec(
            *child.command(),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[sock.fileno() for sock in (child.sock, child.inner) if sock is not None],
            # A session of its own: Ctrl-C in the terminal reaches the supervisor, which hands it on once.
            start_new_session=True,
        )
        ended = asyncio.ensure_future(child.process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            await asyncio.wait([ended], timeout=self._stop_secs)
        if not ended.done():
            log.error("process_killed", mode=child.mode.value, after_secs=self._stop_secs)
            child.process.kill()
        return await ended
