"""`strait dev`: a bundled PostgreSQL, the whole daemon and a sample endpoint as one process that needs no settings.

What is exported for a real deployment is left alone: `dev` must never migrate, or work on, somebody's database.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from pydantic import SecretStr

from strait_core import __version__
from strait_core.address import LOOPBACK_ONLY
from strait_core.errors import ConfigError
from strait_daemon import devdata, embedded, front, sample, serve
from strait_daemon import settings as configuration
from strait_daemon.devdata import Database
from strait_daemon.ending import end
from strait_daemon.settings import Settings, Supervised
from strait_daemon.telemetry import configure_logging, masked

# The database to use instead of the bundled one; `--database URL` sets it.
OVERRIDE: Final = "STRAIT_DEV_DATABASE"
_NO_URL_YET: Final = "postgresql://"
# Who works on an endpoint does not want to wait a minute for it to be called again.
COOLDOWN_SECS: Final = 5.0
_STOP_SECS: Final = 5.0
# Settings of some other deployment, which are not read here.
_FOREIGN: Final = (
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "REDIS_URL",
    "INTERNAL_SECRET",
    "JWT_SIGNING_KEY",
    "MODE",
    "ALLOW_PRIVATE_ENDPOINTS",
    "ENCRYPTION_KEY",
    "CHANGES_REDIS_STREAM",
    "CHANGES_WEBHOOK_URL",
    "CHANGES_WEBHOOK_SECRET",
)


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line may say; `db` None = the default folder, `port` None = PORT or 8080.

    `sample` is the sample endpoint, `job` the job that calls it.
    `piped`: another program drives this one. It gets one JSON line on standard output when all is up, and everything
    ends when standard input does, so that nothing outlives that program.
    """

    db: Path | None = None
    ephemeral: bool = False
    port: int | None = None
    sample: bool = True
    job: bool = True
    piped: bool = False


class _Stopped(KeyboardInterrupt):
    """A signal to stop came before the daemon listened for one."""


def dev(options: DevOptions) -> int:
    """Run until a signal says stop, then leave nothing running; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    with suppress(_Stopped), ExitStack() as stack:
        try:
            return _run(options, stack)
        finally:
            # What is left is to tidy up, within bounds; a second signal must not cut that short.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
    return 0


def reset(db: Path | None) -> int:
    """Remove the bundled PostgreSQL's data and nothing else; the exit code."""
    folder = (db or embedded.default_data_dir()).absolute()
    devdata.refuse_second(folder)
    devdata.sweep()
    existed = embedded.reset(folder)
    _say(f"Removed the data in {folder}." if existed else f"There is no data in {folder}.", sys.stderr)
    return 0


def _stopped(_number: int, _frame: object) -> NoReturn:
    raise _Stopped


def _run(options: DevOptions, stack: ExitStack) -> int:
    """Everything that can be refused is looked at before anything is started."""
    ignored = _forget_foreign_settings()
    override = os.environ.get(OVERRIDE)
    folder = None if override else stack.enter_context(devdata.folder(options.db, ephemeral=options.ephemeral))
    if folder is not None:
        devdata.refuse_second(folder)
    settings, warnings = configuration.load(_overrides(options, override))
    configure_logging(settings.log_level, settings.log_format)
    serve.raise_file_limit()
    sock = stack.enter_context(_listen(settings))
    sample_sock = stack.enter_context(sample.open_socket(settings.port)) if options.sample else None
    database = identity = None
    if folder is not None:
        database = stack.enter_context(Database(folder, ephemeral=options.ephemeral))
        settings = settings.model_copy(update={"database_url": SecretStr(database.dsn)})
        identity = stack.enter_context(devdata.recorded(folder, _url(settings)))

    def announce() -> None:
        if options.piped:
            _say(json.dumps(_facts(settings, database, sample_sock)), sys.stdout)
        else:
            _say(_announcement(settings, database, sample_sock, ignored), sys.stderr)

    with serve.uvicorn_loop() as runner:
        return runner.run(_serve(options, settings, warnings, (sock, sample_sock), database, identity, announce))


async def _serve(
    options: DevOptions,
    settings: Settings,
    warnings: list[str],
    sockets: tuple[socket.socket, socket.socket | None],
    database: Database | None,
    identity: Supervised | None,
    announce: Callable[[], None],
) -> int:
    """The daemon and what stands around it; the bundled PostgreSQL outlives it, so that it can drain."""
    stop = asyncio.Event()
    sock, sample_sock = sockets
    if options.piped:
        _stop_at_eof(stop)
    async with AsyncExitStack() as stack:
        if sample_sock is not None:
            await stack.enter_async_context(sample.serving(sample_sock))
        if database is not None:
            await stack.enter_async_context(_beside(database.watch(stop), "postgres-watch"))
        up = asyncio.Event()
        offered = sample_sock if options.job else None
        await stack.enter_async_context(_beside(_announce_when(up, settings, offered, announce), "announce"))
        code = await serve.run(settings, warnings, stop=stop, sock=sock, announce=up.set, supervised=identity)
    return 1 if database is not None and database.lost else code


async def _announce_when(
    up: asyncio.Event, settings: Settings, sample_sock: socket.socket | None, announce: Callable[[], None]
) -> None:
    """Once all is up, make the sample job, and only then say so: what is announced works."""
    await up.wait()
    if sample_sock is not None:
        key = settings.internal_secret.get_secret_value()
        await sample.offer_job(_url(settings), key, _sample_url(sample_sock))
    with suppress(OSError):  # nobody may be listening
        announce()


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Do `work` while the block runs, at most as long as that."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await end(task, within=_STOP_SECS)


def _stop_at_eof(stop: asyncio.Event) -> None:
    """Stop when standard input ends: a pipe whose other end dies with the program that holds it."""
    loop = asyncio.get_running_loop()
    stdin = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            stop.set()

    loop.add_reader(stdin, readable)


def _forget_foreign_settings() -> list[str]:
    """Take the settings that are not for us out of the environment; their names."""
    found = []
    for name in _FOREIGN:
        given = [os.environ.pop(spelling, None) for spelling in (name, f"STRAIT_{name}")]
        if any(given):
            found.append(name)
    return found


def _overrides(options: DevOptions, database_url: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {
        "mode": "all",
        # What runs on this machine may be called, the network that it happens to be in may not.
        "allow_private_endpoints": LOOPBACK_ONLY,
        "database_url": database_url or _NO_URL_YET,
        "internal_secret": devdata.secret("internal_secret"),
        "jwt_signing_key": devdata.secret("jwt_signing_key"),
        "encryption_key": devdata.secret("encryption_key"),
    }
    if not configuration.is_set("BREAKER_COOLDOWN"):
        given["breaker_cooldown"] = COOLDOWN_SECS
    return given if options.port is None else {**given, "port": options.port}


def _listen(settings: Settings) -> socket.socket:
    try:
        return front.open_socket(settings.host, settings.port)
    except ConfigError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
            raise
        raise ConfigError(
            error.message, hint=f"stop that program, or choose another port: strait dev --port {settings.port + 10}"
        ) from error


def _url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _facts(settings: Settings, database: Database | None, sample_sock: socket.socket | None) -> dict[str, str | None]:
    """What the program at the other end of the pipe needs to begin."""
    return {
        "url": _url(settings),
        "sample": _sample_url(sample_sock) if sample_sock is not None else None,
        "postgres": database.server.version if database is not None else None,
        "notice": database.notice if database is not None else None,
    }


def _announcement(
    settings: Settings, database: Database | None, sample_sock: socket.socket | None, ignored: list[str]
) -> str:
    """What a person needs to begin: where everything is, and what to type in the next shell."""
    url = _url(settings)
    rows = [("API", f"{url}   (its documentation: {url}/docs)")]
    if sample_sock is not None:
        others = " ".join(path for path, _ in sample.ROUTES[1:])
        rows.append(("sample endpoint", f"{_sample_url(sample_sock)}/hello   (others: {others})"))
    said = database.described if database else masked(settings.database_url.get_secret_value())
    rows += [("database", said), ("API key", devdata.secret_place("internal_secret"))]
    width = max(len(name) for name, _ in rows)
    lines = [f"Strait {__version__} for development", "", *(f"  {name:<{width}}  {text}" for name, text in rows), ""]
    if notes := _notes(database, ignored):
        lines += [*(f"  note: {note}" for note in notes), ""]
    lines += ["In another shell:", "", *_first_commands(sample_sock)]
    lines += [
        "  strait stats",
        "",
        "Ctrl-C stops everything.",
    ]
    return "\n".join(lines)


def _sample_url(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


def _first_commands(sample_sock: socket.socket | None) -> list[str]:
    if sample_sock is None:
        return ["  strait jobs create --name Mine --slug mine --endpoint http://127.0.0.1:9000/hook --project dev"]
    flaky = f"{_sample_url(sample_sock)}/flaky"
    return [
        f'  strait trigger {sample.JOB_SLUG} --payload \'{{"greeting": "hi"}}\' --wait',
        f"  strait jobs create --name Flaky --slug flaky --endpoint {flaky} --project {sample.JOB_PROJECT}",
    ]


def _notes(database: Database | None, ignored: list[str]) -> list[str]:
    notes = [database.notice] if database is not None and database.notice else []
    if ignored:
        notes.append(
            f"exported {', '.join(ignored)} ignored here; to use a database of yours: strait dev --database URL"
        )
    if "INTERNAL_SECRET" in ignored:
        notes.append("where INTERNAL_SECRET is exported, strait sends it as the API key: unset it in the next shell")
    return notes


def _say(text: str, stream: TextIO) -> None:
    print(text, file=stream, flush=True)
