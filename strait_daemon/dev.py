"""`strait dev`: a bundled PostgreSQL, the whole daemon and a sample endpoint as one process that needs no settings.

What is exported for a real deployment is left alone: `dev` must never migrate, or work on, somebody's database.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from pydantic import SecretStr

from strait_core import __version__
from strait_core.errors import ConfigError
from strait_daemon import devdata, embedded, sample, serve
from strait_daemon import settings as configuration
from strait_daemon.devdata import Database
from strait_daemon.settings import Settings
from strait_daemon.telemetry import configure_logging, masked

# The database to use instead of the bundled one; `--database URL` sets it.
OVERRIDE: Final = "STRAIT_DEV_DATABASE"
_NO_URL_YET: Final = "postgresql://"
# Settings of some other deployment, which are not read here.
_FOREIGN: Final = ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "INTERNAL_SECRET", "JWT_SIGNING_KEY", "MODE")


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line may say; `db` None = the default folder, `port` None = PORT or 8080.

    `until_eof` ends it all when standard input ends, so that it cannot outlive the program that started it.
    """

    db: Path | None = None
    ephemeral: bool = False
    port: int | None = None
    sample: bool = True
    until_eof: bool = False


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
    _say(f"Removed the data in {folder}." if existed else f"There is no data in {folder}.")
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
    database = None
    if folder is not None:
        database = stack.enter_context(Database(folder, ephemeral=options.ephemeral))
        settings = settings.model_copy(update={"database_url": SecretStr(database.dsn)})
        stack.enter_context(devdata.recorded(folder, _url(settings)))
    announcement = _announcement(settings, database, sample_sock, ignored)
    with serve.uvicorn_loop() as runner:
        return runner.run(_serve(options, settings, warnings, (sock, sample_sock), database, announcement))


async def _serve(
    options: DevOptions,
    settings: Settings,
    warnings: list[str],
    sockets: tuple[socket.socket, socket.socket | None],
    database: Database | None,
    announcement: str,
) -> int:
    """The daemon and what stands around it; the bundled PostgreSQL outlives it, so that it can drain."""
    stop = asyncio.Event()
    sock, sample_sock = sockets
    if options.until_eof:
        _stop_at_eof(stop)
    async with _sample_if(sample_sock), _watching_if(database, stop):
        code = await serve.run(settings, warnings, stop=stop, sock=sock, announcement=announcement)
    return 1 if database is not None and database.lost else code


@asynccontextmanager
async def _sample_if(sock: socket.socket | None) -> AsyncIterator[None]:
    if sock is None:
        yield
        return
    async with sample.serving(sock):
        yield


@asynccontextmanager
async def _watching_if(database: Database | None, stop: asyncio.Event) -> AsyncIterator[None]:
    if database is None:
        yield
        return
    watch = asyncio.create_task(database.watch(stop), name="postgres-watch")
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


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
        "database_url": database_url or _NO_URL_YET,
        "internal_secret": devdata.secret("internal_secret"),
        "jwt_signing_key": devdata.secret("jwt_signing_key"),
    }
    return given if options.port is None else {**given, "port": options.port}


def _listen(settings: Settings) -> socket.socket:
    try:
        return serve.open_socket(settings.host, settings.port)
    except ConfigError as error:
        raise ConfigError(
            error.message, hint=f"stop that program, or choose another port: strait dev --port {settings.port + 10}"
        ) from error


def _url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _announcement(
    settings: Settings, database: Database | None, sample_sock: socket.socket | None, ignored: list[str]
) -> str:
    """What a person needs to begin: where everything is, and what to type in the next shell."""
    url = _url(settings)
    rows = [("API", f"{url}   (its documentation: {url}/docs)")]
    if sample_sock is not None:
        endpoint = f"http://127.0.0.1:{sample_sock.getsockname()[1]}"
        rows.append(
            ("sample endpoint", f"{endpoint}/hello   (others: {' '.join(path for path, _ in sample.ROUTES[1:])})")
        )
    else:
        endpoint = "http://127.0.0.1:9000"
    said = database.described if database else masked(settings.database_url.get_secret_value())
    rows += [("database", said), ("API key", str(devdata.secret_file("internal_secret")))]
    width = max(len(name) for name, _ in rows)
    lines = [f"Strait {__version__} for development", "", *(f"  {name:<{width}}  {text}" for name, text in rows), ""]
    if notes := _notes(database, ignored):
        lines += [*(f"  note: {note}" for note in notes), ""]
    lines += [
        "In another shell:",
        "",
        f"  strait jobs create --name Hello --slug hello --endpoint {endpoint}/hello --project demo",
        '  strait trigger hello --payload \'{"greeting": "hi"}\' --wait',
        "  strait stats",
        "",
        "Ctrl-C stops everything.",
    ]
    return "\n".join(lines)


def _notes(database: Database | None, ignored: list[str]) -> list[str]:
    notes = [database.notice] if database is not None and database.notice else []
    if ignored:
        notes.append(
            f"exported {', '.join(ignored)} ignored here; to use a database of yours: strait dev --database URL"
        )
    if "INTERNAL_SECRET" in ignored:
        notes.append("where INTERNAL_SECRET is exported, strait sends it as the API key: unset it in the next shell")
    return notes


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - for the person who started it
