"""One daemon process from start to exit: settings, database, banner, HTTP, signals, drain."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog

from strait_daemon import settings as configuration
from strait_daemon import wiring
from strait_daemon.banner import banner
from strait_daemon.exposition import Siblings
from strait_daemon.front import Front, open_socket
from strait_daemon.settings import Settings, Supervised
from strait_daemon.supervisor import Supervisor, inner_sockets, processes_of
from strait_daemon.telemetry import configure_logging

# Allocations between two looks at the youngest objects; Python's own 700 costs a tenth of a busy worker's time.
GC_THRESHOLD: Final = 20_000

log = structlog.get_logger(__name__)


def serve(overrides: Mapping[str, Any] | None = None, supervised: Supervised | None = None) -> int:
    """Run until a signal says stop; the exit code. Raises StraitError for what keeps the daemon from starting."""
    settings, warnings = configuration.load(overrides)
    configure_logging(settings.log_level, settings.log_format)
    raise_file_limit()
    with uvicorn_loop() as runner:
        if supervised is not None:
            return runner.run(_run_supervised(settings, supervised))
        if settings.processes > 1:
            return runner.run(_supervise(settings, warnings))
        return runner.run(run(settings, warnings))


async def _supervise(settings: Settings, warnings: list[str]) -> int:
    """Start the processes and keep them running."""
    _warn(warnings)
    with open_socket(settings.host, settings.port) as sock, inner_sockets(processes_of(settings)) as inner:
        await wiring.prepare_database(settings)
        return await Supervisor(settings, sock, inner).run(partial(_show_banner, settings))


async def _run_supervised(settings: Settings, supervised: Supervised) -> int:
    """Run as one of a supervisor's processes: stop when it says so, and when it is gone."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    sock = socket.socket(fileno=supervised.socket) if supervised.socket is not None else None
    return await run(settings, [], stop=stop, sock=sock, announce=lambda: None, supervised=supervised)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        log.warning("configuration", detail=warning)


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


async def run(
    settings: Settings,
    warnings: list[str],
    *,
    stop: asyncio.Event | None = None,
    sock: socket.socket | None = None,
    announce: Callable[[], None] | None = None,
    supervised: Supervised | None = None,
) -> int:
    """Start everything, wait for the signal to stop (or `stop`), and drain.

    `sock` is the listening socket if it is open already; `announce` is called when all is up, instead of the banner.
    """
    _warn(warnings)
    if sock is None and supervised is None:
        sock = open_socket(settings.host, settings.port)
    try:
        await wiring.prepare_database(settings)
        parts = await wiring.build(settings, supervised)
    except BaseException:
        if sock is not None:
            sock.close()
        raise
    stopping, at_once = stop or asyncio.Event(), asyncio.Event()
    _listen_for_signals(stopping, at_once)
    fronts = _fronts(parts, sock, supervised)
    wiring.start(parts)
    _settle_memory()
    try:
        with suppress(OSError):  # nobody may be listening; that is no reason to stop
            (announce or partial(_show_banner, settings))()
        log.info("started", mode=settings.mode.value, host=settings.host, port=settings.port)
        ends = [asyncio.ensure_future(stopping.wait()), *(front.task for front in fronts)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", drain_secs=settings.drain_timeout)
    finally:
        await _shut_down(fronts, parts, at_once)
    log.info("stopped")
    return 0 if stopping.is_set() else 1


def _settle_memory() -> None:
    """Spare the collector what lives as long as the process, and call it less often: runs leave few cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


def _show_banner(settings: Settings) -> None:
    print(banner(settings), file=sys.stderr, flush=True)  # noqa: T201 - for the person who started it


def _fronts(parts: wiring.Parts, sock: socket.socket | None, supervised: Supervised | None) -> list[Front]:
    """What this process serves: its part of the API, and its figures to its siblings."""
    fronts = []
    if sock is not None:
        siblings = None
        if supervised is not None and supervised.folder is not None:
            siblings = Siblings(supervised.folder, supervised.number)
        fronts.append(Front(parts, sock, siblings))
    if supervised is not None and supervised.inner is not None:
        fronts.append(Front(parts, socket.socket(fileno=supervised.inner), inner=True))
    return fronts


async def _shut_down(fronts: list[Front], parts: wiring.Parts, at_once: asyncio.Event) -> None:
    """Close the door and drain."""
    ends = [asyncio.ensure_future(wiring.stop(parts, at_once=at_once))]
    ends += [asyncio.ensure_future(front.stop()) for front in fronts]
    await asyncio.wait(ends, timeout=parts.settings.drain_timeout + 20)
    for end in ends:
        end.cancel()
    await asyncio.gather(*ends, return_exceptions=True)


def _listen_for_signals(stopping: asyncio.Event, at_once: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT drains; the second stops now."""

    def heard() -> None:
        (at_once if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard)
