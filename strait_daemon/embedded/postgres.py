"""The bundled PostgreSQL server: start it on a data directory, hand out its URL, stop it within bounds."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from strait_daemon.embedded import cluster
from strait_daemon.embedded.binaries import PostgresBinaries, find_postgres
from strait_daemon.embedded.cluster import SUPERUSER, Layout
from strait_daemon.embedded.faults import EmbeddedError
from strait_daemon.embedded.identity import Account, Identity
from strait_daemon.embedded.launch import REFUSED
from strait_daemon.embedded.lock import DataLock, Holder, holder
from strait_daemon.embedded.process import ServerProcess, free_port, turn_log, wait_until

SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "jit": "off",  # our statements are short; compiling them costs more than running them
    "log_min_messages": "warning",
    "max_connections": "100",
    "shared_buffers": "128MB",
}
"""For a laptop: durable, modest. A caller's settings are laid over these."""

_START_SECONDS = 60.0  # recovery after a crash takes its time
_PORT_TRIES = 5
_STOP = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # fast, immediate, by force


class PostgresServer:
    """A running PostgreSQL. It dies with this process (on Linux); what it leaves elsewhere the next start cleans up."""

    def __init__(
        self, layout: Layout, where: Holder, *, notice: str | None, owned: tuple[ServerProcess, DataLock] | None
    ) -> None:
        self.data_dir = layout.home
        self.version = where.version or ""
        self.notice = notice
        self._layout = layout
        self._where = where
        self._owned = owned
        self._stopping = threading.Lock()
        self._password = cluster.read_password(layout)

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: PostgresBinaries | None = None,
        identity: Identity | None = None,
        ports: Callable[[], int] = free_port,
    ) -> Self:
        """Start on `data_dir`, made when absent; one that a live process holds raises `ServerInUseError`, see `attach`.

        `settings` are PostgreSQL's own; `identity` is who to run as, None = whatever works here; `ports` draws the
        port, again when it turns out to be taken.
        """
        home = data_dir.absolute()
        cluster.prepare_home(home)
        lock = DataLock.acquire(home / "lock")
        try:
            layout, identity, binaries = _prepare(home, binaries or find_postgres(), identity)
            process, where = _launch(layout, binaries, identity, {**SETTINGS, **(settings or {})}, ports)
            lock.record(where)
            return cls(layout, where, notice=_notice(layout, identity), owned=(process, lock))
        except BaseException:
            lock.release()
            raise

    @classmethod
    def attach(cls, data_dir: Path) -> Self | None:
        """The server that another live process runs on `data_dir`; None when none does. Its `stop` does nothing."""
        layout, _ = cluster.locate(data_dir.absolute(), None)
        found = holder(layout.lock)
        if found is None or found.port is None:
            return None
        return cls(layout, found, notice=None, owned=None)

    @property
    def major(self) -> int:
        """18 for 18.1."""
        return int(self.version.split(".", maxsplit=1)[0])

    @property
    def pid(self) -> int:
        """The server's own process id."""
        return self._where.server or 0

    @property
    def port(self) -> int:
        """Its port, on 127.0.0.1 and in the socket's name."""
        return self._where.port or 0

    @property
    def socket_dir(self) -> Path:
        """The directory of its unix socket."""
        return Path(self._where.socket or "/")

    @property
    def log(self) -> Path:
        """The file its messages go to."""
        return self._layout.log

    @property
    def dsn(self) -> str:
        """The URL of database `postgres` over the unix socket, password included."""
        return self.dsn_for("postgres")

    @property
    def tcp_dsn(self) -> str:
        """The same over loopback, for programs without unix sockets."""
        return f"postgresql://{SUPERUSER}:{self._password}@127.0.0.1:{self.port}/postgres"

    def dsn_for(self, database: str) -> str:
        """The URL of another database of this server, over the unix socket."""
        path = quote(str(self.socket_dir), safe="/")
        return f"postgresql://{SUPERUSER}:{self._password}@/{quote(database, safe='')}?host={path}&port={self.port}"

    @property
    def running(self) -> bool:
        """Whether the server still runs; of an attached one, whether its owner still does."""
        return self._owned[0].running if self._owned else holder(self._layout.lock) is not None

    def stop(self) -> None:
        """Stop a server of our own: fast, then immediate, then by force, at most about 20 s. Any number of times."""
        with self._stopping:
            if self._owned is None:
                return
            process, lock = self._owned
            process.end(_STOP)
            cluster.stop_orphans(self._layout)  # after force, its children may linger
            self._owned = None
            lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<PostgresServer {self.version} pid={self.pid} port={self.port}>"  # never the password


def _prepare(
    home: Path, binaries: PostgresBinaries, wanted: Identity | None
) -> tuple[Layout, Identity, PostgresBinaries]:
    """A data directory that is whole, fits the binaries and is used by nobody."""
    layout, identity = cluster.locate(home, wanted)
    if not layout.pgdata.exists():
        return cluster.create(home, binaries, wanted)
    cluster.stop_orphans(layout)
    cluster.check_version(layout, binaries)
    cluster.read_password(layout)
    return layout, identity, cluster.reachable(layout, binaries, identity)


def _launch(
    layout: Layout,
    binaries: PostgresBinaries,
    identity: Identity,
    settings: Mapping[str, str],
    ports: Callable[[], int],
) -> tuple[ServerProcess, Holder]:
    """Start on a random port; one that was taken in between is replaced by another."""
    sockets = cluster.make_sockets(layout, identity)
    turn_log(layout.log)
    for tries_left in reversed(range(_PORT_TRIES)):
        port = ports()
        told = layout.log.stat().st_size if layout.log.exists() else 0
        process = ServerProcess.spawn(
            _command(layout, binaries, sockets, port, settings),
            identity=identity,
            death_signal=signal.SIGINT,
            log=layout.log,
        )
        try:
            wait_until(partial(_settled, layout, process), _START_SECONDS)
        except BaseException:  # Ctrl-C while we waited
            process.end(_STOP)
            raise
        if _ready(layout, process.pid):
            return process, Holder(os.getpid(), process.pid, port, str(sockets), binaries.version)
        process.end(_STOP)
        words = _words_since(layout.log, told)
        if "Address already in use" not in words or not tries_left:
            cluster.remove_sockets(layout)
            raise _failed(process, words, layout)
    raise AssertionError("the last try returns or raises")


def _command(
    layout: Layout, binaries: PostgresBinaries, sockets: Path, port: int, settings: Mapping[str, str]
) -> list[str]:
    fixed = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "logging_collector": "off",
        "log_destination": "stderr",
    }
    options = [part for name, value in {**settings, **fixed}.items() for part in ("-c", f"{name}={value}")]
    return [binaries.program("postgres"), "-D", str(layout.pgdata), *options]


def _settled(layout: Layout, process: ServerProcess) -> bool:
    return not process.running or _ready(layout, process.pid)


def _ready(layout: Layout, pid: int) -> bool:
    """Whether the server has written `ready` beside its pid: the eighth line of postmaster.pid, as pg_ctl reads it."""
    try:
        lines = (layout.pgdata / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _words_since(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read(64 * 1024).decode(errors="replace")


def _failed(process: ServerProcess, words: str, layout: Layout) -> EmbeddedError:
    if process.exit_status == REFUSED:
        return cluster.IdentityRefusedError(
            f"This system no longer lets PostgreSQL run as the owner of {layout.pgdata}: {words.strip()}",
            hint="allow user namespaces again, or begin anew with strait dev reset",
        )
    reasons = re.findall(r"(?:FATAL|PANIC):\s*(.*)", words)
    reason = "; ".join(dict.fromkeys(reasons)) or f"it was not ready within {_START_SECONDS:.0f} s"
    return EmbeddedError(
        f"PostgreSQL did not start on {layout.pgdata}: {reason}",
        hint=f"its log is {layout.log}; if the data may go, strait dev reset begins anew",
    )


def _notice(layout: Layout, identity: Identity) -> str | None:
    if not isinstance(identity, Account):
        return None
    return (
        f"PostgreSQL refuses root, so it runs as {identity.name} (uid {identity.uid}) with its data in {layout.folder}"
    )
