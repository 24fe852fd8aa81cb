"""The bundled Valkey: live events between processes, nothing kept; it lives and dies with its starter."""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from strait_daemon.embedded.binaries import find_valkey
from strait_daemon.embedded.faults import EmbeddedError
from strait_daemon.embedded.identity import Plain
from strait_daemon.embedded.process import ServerProcess, free_port, turn_log, wait_until

_START_SECONDS = 15.0
_PORT_TRIES = 5
_STOP = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


class ValkeyServer:
    """A running Valkey on a random loopback port, behind a random password."""

    def __init__(self, process: ServerProcess, port: int, password: str) -> None:
        self.port = port
        self._process = process
        self._password = password

    @classmethod
    def start(cls, directory: Path, *, binary: Path | None = None, ports: Callable[[], int] = free_port) -> Self:
        """Start with `directory` (made when absent) for its log; several may share one."""
        binary = binary or find_valkey()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(
                f"Cannot use {directory} for Valkey: {error.strerror}", hint="name a directory that you may write to"
            ) from error
        turn_log(directory / "valkey.log")
        password = secrets.token_urlsafe(32)
        for _ in range(_PORT_TRIES):
            port = ports()
            process = _spawn(binary, directory, port, password)
            if _answers_while_running(process, port, password):
                return cls(process, port, password)
            process.end(_STOP)
        raise EmbeddedError(
            f"Valkey ({binary}) did not start",
            hint=f"{directory / 'valkey.log'} says why; or set REDIS_URL to a server of your own",
        )

    @property
    def url(self) -> str:
        """The URL for a client, password included."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server still runs."""
        return self._process.running

    def stop(self) -> None:
        """Stop within 10 s; any number of times."""
        self._process.end(_STOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<ValkeyServer pid={self.pid} port={self.port}>"  # never the password


def _spawn(binary: Path, directory: Path, port: int, password: str) -> ServerProcess:
    # By standard input: the password must not show in the process list, nor lie in a file.
    configuration = (
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\nprotected-mode yes\ndaemonize no\n"
        f'dir "{directory.absolute()}"\nsave ""\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy noeviction\n'
    )
    return ServerProcess.spawn(
        [str(binary), "-"],
        identity=Plain(),
        death_signal=signal.SIGKILL,
        log=directory / "valkey.log",
        stdin=configuration.encode(),
    )


def _answers_while_running(process: ServerProcess, port: int, password: str) -> bool:
    try:
        wait_until(lambda: not process.running or _answers(port, password), _START_SECONDS)
    except BaseException:  # Ctrl-C while we waited
        process.end(_STOP)
        raise
    return process.running and _answers(port, password)


def _answers(port: int, password: str) -> bool:
    """Whether a server that knows our password listens: another that grabbed the port would not."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\n".encode())
            return connection.recv(64).startswith(b"+OK")
    except OSError:
        return False
