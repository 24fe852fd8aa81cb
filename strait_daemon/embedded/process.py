"""Server processes: started through the launcher, watched, ended within bounds; and those left over by the dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from strait_daemon.embedded.identity import ON_LINUX, Identity

LAUNCHER = Path(__file__).with_name("launch.py")
_LOG_BYTES_MAX = 10 * 1024 * 1024
POLL = 0.005
"""Seconds between two looks at a file or process that another program changes."""

Escalation = Sequence[tuple[signal.Signals, float]]
"""Signals to try in turn, each with the seconds it is given."""


def launch_command(command: Sequence[str], identity: Identity, death_signal: signal.Signals) -> list[str]:
    """`command` behind the launcher, which ties it to this process and takes on `identity`."""
    return [
        sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal)), identity.spell(), *command,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """What a server may see of ours: no PG* variable that would bend it, no secret that it does not need."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def run(command: Sequence[str], identity: Identity, *, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a short program as `identity` and collect what it says."""
    return subprocess.run(  # noqa: S603  binaries that find_postgres looked up
        launch_command(command, identity, signal.SIGTERM),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        start_new_session=True,
        check=False,
    )


class ServerProcess:
    """One running server, started and reaped by a thread of its own.

    The thread lives as long as the server: the kernel sends the death signal when the *thread* that started a process
    ends, so a server started from a pool thread would fall with that thread.
    """

    def __init__(self, popen: subprocess.Popen[bytes], ended: threading.Event) -> None:
        self._popen = popen
        self._ended = ended

    @classmethod
    def spawn(
        cls,
        command: Sequence[str],
        *,
        identity: Identity,
        death_signal: signal.Signals,
        log: Path,
        stdin: bytes | None = None,
    ) -> ServerProcess:
        """Start `command`, its output appended to `log`, `stdin` fed to it; in a session of its own, so that the
        terminal's Ctrl-C reaches us first and the server only through `end`.
        """
        started: Future[subprocess.Popen[bytes]] = Future()
        ended = threading.Event()

        def own() -> None:
            try:
                popen = _popen(launch_command(command, identity, death_signal), log, stdin)
            except BaseException as error:  # noqa: BLE001  handed to the caller
                started.set_exception(error)
                return
            started.set_result(popen)
            popen.wait()
            ended.set()

        threading.Thread(target=own, name=f"server-{Path(command[0]).name}", daemon=True).start()
        return cls(started.result(), ended)

    @property
    def pid(self) -> int:
        """The server's process id: the launcher becomes the server."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """False once the process has ended and been reaped."""
        return not self._ended.is_set()

    @property
    def exit_status(self) -> int | None:
        """As subprocess gives it: negative for a signal, None while running."""
        return self._popen.returncode if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False when it did not come in time."""
        return self._ended.wait(timeout)

    def end(self, escalation: Escalation) -> signal.Signals | None:
        """Signal until it has ended; the signal that did it, None when it had ended before."""
        for number, seconds in escalation:
            if self._ended.is_set():
                return None
            self._popen.send_signal(number)
            if self._ended.wait(seconds):
                return number
        return None


def _popen(command: list[str], log: Path, stdin: bytes | None) -> subprocess.Popen[bytes]:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as output:
        popen = subprocess.Popen(  # noqa: S603  binaries that find_postgres and find_valkey looked up
            command,
            env=environment(),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    if popen.stdin is not None:
        with popen.stdin:
            popen.stdin.write(stdin or b"")
    return popen


def turn_log(log: Path) -> None:
    """Keep one old log; the file would grow for ever."""
    if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def free_port() -> int:
    """A loopback port free a moment ago; a server that finds it taken after all is started again with another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def alive(pid: int) -> bool:
    """Whether a process with this id exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def servers_in(directory: Path, program: str) -> list[int]:
    """Pids of the `program` processes that work in `directory`.

    A pid out of a file proves nothing, it may have been given away since; the working directory does.
    """
    found = []
    wanted = os.path.realpath(directory)
    if not ON_LINUX:
        return _servers_by_command(wanted, program)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if str((entry / "cwd").readlink()) == wanted and (entry / "comm").read_text().startswith(program):
                found.append(int(entry.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def _servers_by_command(directory: str, program: str) -> list[int]:
    """Without /proc: the processes whose command line names both program and directory."""
    listing = subprocess.run(  # a fixed command
        ["/bin/ps", "-axo", "pid=,command="], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    rows = (line.strip().partition(" ") for line in listing.splitlines())
    return [int(pid) for pid, _, command in rows if program in command and directory in command]


def end_all(survivors: Callable[[], list[int]], escalation: Escalation) -> bool:
    """Signal whatever `survivors` names until nothing is left; False when something outlived the last signal."""
    for number, seconds in escalation:
        for pid in survivors():
            _signal(pid, number)
        if wait_until(lambda: not survivors(), seconds):
            return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look every few milliseconds until `condition` holds; False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
