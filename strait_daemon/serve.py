"""One daemon process from start to exit: settings, database, banner, HTTP, signals, drain."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
import uvicorn

import strait_core
from strait_core.errors import ConfigError
from strait_daemon import settings as configuration
from strait_daemon import wiring
from strait_daemon.api.app import Deps, make_app, make_ops_app
from strait_daemon.banner import banner
from strait_daemon.settings import Mode, Settings
from strait_daemon.telemetry import configure_logging
from strait_daemon.wiring import Parts

BACKLOG: Final = 2_048
# What open requests of the API get when the process stops.
HTTP_STOP_SECS: Final = 5

log = structlog.get_logger(__name__)


def serve(overrides: Mapping[str, Any] | None = None) -> int:
    """Run until a signal says stop; the exit code. Raises StraitError for what keeps the daemon from starting."""
    settings, warnings = configuration.load(overrides)
    configure_logging(settings.log_level, settings.log_format)
    raise_file_limit()
    with uvicorn_loop() as runner:
        return runner.run(run(settings, warnings))


def uvicorn_loop() -> asyncio.Runner:
    """An event loop on uvloop."""
    import uvloop  # noqa: PLC0415 - not on every platform

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def raise_file_limit() -> None:
    """Let this process open as many files (connections) as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_socket(host: str, port: int) -> socket.socket:
    """The listening socket; ConfigError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use by another program",
                hint=f"stop it, or choose another port: PORT={port + 1} strait serve",
            ) from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="set HOST to an address of this machine and PORT to a port this user may open",
        ) from error
    return sock


async def run(
    settings: Settings,
    warnings: list[str],
    *,
    stop: asyncio.Event | None = None,
    sock: socket.socket | None = None,
    announce: Callable[[], None] | None = None,
) -> int:
    """Start everything, wait for the signal to stop (or `stop`), and drain.

    `sock` is the listening socket if it is open already; `announce` is called when all is up, instead of the banner.
    """
    for warning in warnings:
        log.warning("configuration", detail=warning)
    sock = sock or open_socket(settings.host, settings.port)
    try:
        await wiring.prepare_database(settings)
        parts = await wiring.build(settings)
    except BaseException:
        sock.close()
        raise
    stopping, at_once = stop or asyncio.Event(), asyncio.Event()
    _listen_for_signals(stopping, at_once)
    server = make_server(parts)
    http = asyncio.create_task(server.serve(sockets=[sock]), name="http")
    wiring.start(parts)
    try:
        with suppress(OSError):  # nobody may be listening; that is no reason to stop
            (announce or partial(_show_banner, settings))()
        log.info("started", mode=settings.mode.value, host=settings.host, port=settings.port)
        await asyncio.wait([http, asyncio.ensure_future(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", drain_secs=settings.drain_timeout)
    finally:
        await _shut_down(server, http, parts, at_once)
    log.info("stopped")
    return 0 if stopping.is_set() else 1


def _show_banner(settings: Settings) -> None:
    print(banner(settings), file=sys.stderr, flush=True)  # noqa: T201 - for the person who started it


async def _shut_down(server: uvicorn.Server, http: asyncio.Task[None], parts: Parts, at_once: asyncio.Event) -> None:
    """Close the door first, then drain."""
    server.should_exit = True
    drained = asyncio.create_task(wiring.stop(parts, at_once=at_once))
    await asyncio.wait([http, drained], timeout=parts.settings.drain_timeout + 20)
    if not http.done():
        server.force_exit = True
        http.cancel()
    await asyncio.gather(http, drained, return_exceptions=True)


def make_server(parts: Parts) -> uvicorn.Server:
    """The HTTP server for the mode: the whole API, or only health and metrics."""
    settings = parts.settings
    deps = Deps(
        pool=parts.pool,
        clock=parts.clock,
        intake=parts.intake,
        bus=parts.bus,
        new_id=parts.new_id,
        secret=settings.internal_secret.get_secret_value(),
        stale_after=settings.stale_after,
        version=strait_core.__version__,
        metrics_public=settings.metrics_public,
        metrics=parts.metrics.render,
        ready=parts.ready,
        log=log,
    )
    app = make_ops_app(deps) if settings.mode is Mode.WORKER else make_app(deps)
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=HTTP_STOP_SECS,
        timeout_keep_alive=75,
        backlog=BACKLOG,
        ws="none",
        proxy_headers=False,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: this process has one place for them."""

    def capture_signals(self) -> Any:
        from contextlib import nullcontext  # noqa: PLC0415

        return nullcontext()


def _listen_for_signals(stopping: asyncio.Event, at_once: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT drains; the second stops now."""

    def heard() -> None:
        (at_once if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard)
