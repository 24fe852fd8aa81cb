"""The daemon's HTTP front: the listening socket and the server on it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import strait_core
from strait_core.errors import ConfigError, HeadTooLargeError
from strait_daemon import checkup
from strait_daemon.api.app import Deps, make_app, make_ops_app
from strait_daemon.api.endpoint import HANG_UP, SECURITY
from strait_daemon.api.problems import problem
from strait_daemon.closing import Closing
from strait_daemon.exposition import Exposition, Siblings
from strait_daemon.settings import Mode
from strait_daemon.telemetry import CONTENT_TYPE
from strait_daemon.tokens import TokenReader
from strait_daemon.wiring import Parts

BACKLOG: Final = 2_048
# What open requests of the API get when the process stops.
STOP_SECS: Final = 5
# What a request's line and headers may take beyond the piece they began in (asyncio reads up to 256 KiB at once).
MAX_HEAD: Final = 65_536

log = structlog.get_logger(__name__)


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


class Front:
    """The API (or in worker mode health and metrics) on an open socket; with `inner` the figures for siblings only."""

    def __init__(
        self, parts: Parts, sock: socket.socket, siblings: Siblings | None = None, *, inner: bool = False
    ) -> None:
        self._closing = Closing()
        deps = _deps(parts, siblings, self._closing)
        if inner:
            # Nobody else can reach the socket, and what all share is told by the sibling that was asked.
            deps = replace(deps, metrics=_own_figures(parts), metrics_public=True)
        whole = not inner and parts.settings.mode is not Mode.WORKER
        self._server = _make_server(make_app(deps) if whole else make_ops_app(deps))
        self.task = asyncio.create_task(self._server.serve(sockets=[sock]), name="http")

    async def stop(self) -> None:
        """Accept no more, end the streams, and give open requests five seconds."""
        self._closing.set()
        self._server.should_exit = True
        await asyncio.wait([self.task], timeout=2 * STOP_SECS)
        if not self.task.done():
            self._server.force_exit = True
            self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def _own_figures(parts: Parts) -> Callable[[], Awaitable[tuple[bytes, str]]]:
    async def render() -> tuple[bytes, str]:
        return parts.metrics.render(), CONTENT_TYPE

    return render


def _deps(parts: Parts, siblings: Siblings | None, closing: Closing) -> Deps:
    """What the API is given."""
    settings = parts.settings
    return Deps(
        pool=parts.pool,
        clock=parts.clock,
        intake=parts.intake,
        logbook=parts.logbook,
        ender=parts.ender,
        bus=parts.bus,
        rehearse=parts.rehearsal,
        guard=parts.guard,
        vault=parts.vault,
        new_id=parts.new_id,
        secret=settings.internal_secret.get_secret_value(),
        tokens=TokenReader(settings.jwt_signing_key.get_secret_value()),
        stale_after=settings.stale_after,
        version=strait_core.__version__,
        metrics_public=settings.metrics_public,
        metrics=Exposition(parts.metrics, parts.pool, siblings, (parts.clock, settings.sinks)),
        ready=parts.ready,
        process_findings=partial(checkup.process_findings, settings),
        sinks=settings.sinks,
        stage=parts.announcer.due,
        brought=parts.announcer.brought,
        log=log,
        closing=closing,
    )


def _make_server(app: Starlette) -> uvicorn.Server:
    """The HTTP server of an application."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=STOP_SECS,
        timeout_keep_alive=75,
        backlog=BACKLOG,
        ws="none",
        proxy_headers=False,
    )
    return _Server(config)


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP with a bound on a request's head: its own would gather one without end, from anybody.

    The application may hang up on a client (`HANG_UP` in the scope).
    """

    # None: no head is being read. Else the bytes read of it since the piece in which it began.
    _head: int | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = -1

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()
        # For who takes nothing of a stream any more: an orderly end waits for him.
        self.scope[HANG_UP] = self.transport.abort  # type: ignore[typeddict-unknown-key]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is None:
            return
        self._head = 0 if self._head < 0 else self._head + len(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.transport.write(_head_too_large())
            self.transport.close()


def _head_too_large() -> bytes:
    """The whole answer to a request whose head is too large: no application has seen it."""
    request_id = f"req_{token_hex(8)}"
    error = HeadTooLargeError(
        f"the request line and headers are over {MAX_HEAD // 1024} KiB", hint="send what is large in the body"
    )
    answer = problem(error, request_id)
    headers = (
        (b"content-type", answer.media),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", request_id.encode()),
        *SECURITY,
        *answer.headers,
    )
    lines = [b"HTTP/1.1 431 Request Header Fields Too Large", *(b"%s: %s" % pair for pair in headers)]
    return b"\r\n".join([*lines, b"", answer.body])


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: this process has one place for them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield
