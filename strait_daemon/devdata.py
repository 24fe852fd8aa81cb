"""What `dev` keeps on disk: its secrets, its PostgreSQL's folder, and who is using that at the moment."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID, uuid4

import structlog

from strait_core.errors import ConfigError, StraitError
from strait_daemon import embedded
from strait_daemon.embedded import PostgresServer, ServerInUseError
from strait_daemon.embedded.lock import holder
from strait_daemon.embedded.process import alive
from strait_daemon.settings import Supervised

_RECORD: Final = "dev.json"
_EPHEMERAL: Final = "strait-ephemeral-"
# A folder this young may belong to somebody who has not locked it yet.
_YOUNG_SECS: Final = 60.0
_WATCH_SECS: Final = 0.25
_NO_SYNC: Final = {"fsync": "off", "full_page_writes": "off"}

log = structlog.get_logger(__name__)


class Database:
    """The bundled PostgreSQL of one `dev`: started on entry, started again should it fall, stopped on exit."""

    def __init__(self, folder: Path, *, ephemeral: bool) -> None:
        self._folder = folder
        self._ephemeral = ephemeral
        self._server: PostgresServer | None = None
        self.lost = False

    def __enter__(self) -> Self:
        self._server = self._start(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()
        if self._ephemeral:
            with suppress(StraitError):  # what cannot go now, the next one sweeps
                embedded.reset(self._folder)

    def _start(self, port: int | None) -> PostgresServer:
        settings = _NO_SYNC if self._ephemeral else {}
        if port is None:
            return PostgresServer.start(self._folder, settings=settings)
        return PostgresServer.start(self._folder, settings=settings, ports=lambda: port)

    @property
    def server(self) -> PostgresServer:
        """The server as it runs now."""
        assert self._server is not None, "entered first"
        return self._server

    @property
    def dsn(self) -> str:
        """Its URL, password included."""
        return self.server.dsn

    @property
    def notice(self) -> str | None:
        """What a person should know of how it runs."""
        return self.server.notice

    @property
    def described(self) -> str:
        """Its version, and where and for how long its data is kept."""
        kept = "removed at the end" if self._ephemeral else "kept; `strait dev reset` removes it"
        return f"PostgreSQL {self.server.version} in {self._folder}   ({kept})"

    async def watch(self, stop: asyncio.Event) -> None:
        """Start the server again when it has ended without us; when that fails, `stop` everything."""
        while True:
            await asyncio.sleep(_WATCH_SECS)
            if self.server.running:
                continue
            log.error("postgres_ended", log=str(self.server.log))
            try:
                await asyncio.to_thread(self._again)
            except StraitError as error:
                log.error("postgres_lost", error=error.message, hint=error.hint)  # noqa: TRY400 - says it all
                self.lost = True
                stop.set()
                return
            log.info("postgres_started_again", pid=self.server.pid)

    def _again(self) -> None:
        """On the same port and socket, so that the daemon's URL stays true."""
        port = self.server.port
        self.server.stop()
        self._server = self._start(port)


@contextmanager
def folder(db: Path | None, *, ephemeral: bool) -> Iterator[Path]:
    """The folder for PostgreSQL's data: the one named, the default, or a fresh one that goes with the block."""
    if not ephemeral:
        yield (db or embedded.default_data_dir()).absolute()
        return
    sweep()
    fresh = Path(tempfile.mkdtemp(prefix=f"{_EPHEMERAL}{os.getpid()}-"))
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def sweep() -> None:
    """Remove the ephemeral folders of those who died without doing so."""
    for left in Path(tempfile.gettempdir()).glob(f"{_EPHEMERAL}*"):
        with suppress(OSError, StraitError):
            pid = left.name.removeprefix(_EPHEMERAL).partition("-")[0]
            seen = left.stat()
            mine = seen.st_uid == os.geteuid() and pid.isdecimal() and not alive(int(pid))
            if mine and time.time() - seen.st_mtime > _YOUNG_SECS and holder(left / "lock") is None:
                embedded.reset(left)
                shutil.rmtree(left, ignore_errors=True)


def refuse_second(place: Path) -> None:
    """Raise ServerInUseError, naming pid and address, when a living `dev` uses the folder."""
    with suppress(OSError):
        found = holder(place / "lock")
        if found is None:
            return
        url = _recorded_url(place, found.pid)
        where = f"at {url}" if url else f"(its PostgreSQL is on port {found.port})" if found.port else "and starting"
        raise ServerInUseError(
            f"strait dev is running already: pid {found.pid or 'unknown'} {where}, with the data in {place}",
            hint="use that one, stop it, or start another beside it: strait dev --db DIR --port N",
            pid=found.pid or None,
            port=found.port,
        )


@contextmanager
def recorded(place: Path, url: str) -> Iterator[Supervised]:
    """Note for a second `dev` where this one is to be found, for as long as the block; whose worker this one is.

    A note that is still there is that of a killed `dev`: the folder's lock shows that it is dead, so what its worker
    held is recovered at once.
    """
    identity = Supervised(None, uuid4(), _recorded_worker(place))
    record = place / _RECORD
    record.write_text(json.dumps({"pid": os.getpid(), "url": url, "worker": str(identity.worker_id)}))
    try:
        yield identity
    finally:
        with suppress(OSError):
            record.unlink()


def _record(place: Path) -> dict[str, Any]:
    try:
        record = json.loads((place / _RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _recorded_worker(place: Path) -> UUID | None:
    try:
        return UUID(_record(place)["worker"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _recorded_url(place: Path, pid: int) -> str | None:
    record = _record(place)
    return str(record.get("url")) if record.get("pid") == pid else None


def secret_file(name: str) -> Path:
    """Where a secret of `dev` is kept: `$XDG_DATA_HOME/strait/dev/NAME`."""
    return embedded.default_data_dir().parent / "dev" / name


def _secret_variable(name: str) -> str:
    return f"STRAIT_DEV_{name.upper()}"


def secret_place(name: str) -> str:
    """Where a person finds a secret of `dev`."""
    variable = _secret_variable(name)
    return f"in the variable {variable}" if os.environ.get(variable) else str(secret_file(name))


def secret(name: str) -> str:
    """A secret of `dev`: of the environment (STRAIT_DEV_…, for a program that drives this one), else of its file.

    The file is made (32 random bytes in base 64, readable by its owner alone) by whoever comes first.
    """
    return os.environ.get(_secret_variable(name)) or _secret_from(secret_file(name))


def _secret_from(path: Path) -> str:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written beside and linked: of two who race, both read the winner's, whole.
        beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        try:
            with suppress(FileExistsError):
                os.link(beside, path)
        finally:
            beside.unlink()
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"cannot keep a secret in {path}: {error.strerror}",
            hint="make the folder writable, or set XDG_DATA_HOME to one that is",
        ) from error
