"""The composition root: the only place that constructs. Reads top to bottom as the daemon's start and stop."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import structlog

import strait_core
from strait_core import ids
from strait_core.store import migrate
from strait_core.store.owners import Kind
from strait_core.store.pool import Pool, is_pooled, make_pool
from strait_core.wire import ComponentHealth
from strait_daemon import clock as clocks
from strait_daemon.announcer import Announcer
from strait_daemon.api.shape import run as run_shape
from strait_daemon.attempts.catalog import Catalog
from strait_daemon.attempts.ender import Ender
from strait_daemon.bus import Bus
from strait_daemon.clock import DatabaseClock
from strait_daemon.egress.client import EgressClient
from strait_daemon.egress.guard import Guard
from strait_daemon.intake import Intake
from strait_daemon.line import START_SECS, Line, first_connection
from strait_daemon.logbook import Logbook
from strait_daemon.services.accountant import Accountant
from strait_daemon.services.backfiller import INTERVAL_SECS as BACKFILLER_SECS
from strait_daemon.services.backfiller import Backfiller
from strait_daemon.services.breakers import Breakers
from strait_daemon.services.callbacks import Callbacks
from strait_daemon.services.hygiene import INTERVAL_SECS as HYGIENE_SECS
from strait_daemon.services.hygiene import Hygiene
from strait_daemon.services.keykeeper import INTERVAL_SECS as KEYKEEPER_SECS
from strait_daemon.services.keykeeper import KeyKeeper
from strait_daemon.services.lookout import INTERVAL_SECS as LOOKOUT_SECS
from strait_daemon.services.lookout import Lookout
from strait_daemon.services.opener import Opener
from strait_daemon.services.outbox import Outbox
from strait_daemon.services.reaper import Reaper
from strait_daemon.services.refiller import Refiller
from strait_daemon.services.relay import LOOK_SECS, Relay
from strait_daemon.services.retention import INTERVAL_SECS as RETENTION_SECS
from strait_daemon.services.retention import Retention
from strait_daemon.services.service import REST_SECS, Service
from strait_daemon.services.sinks import leave, relays
from strait_daemon.services.stager import Stager
from strait_daemon.services.ticker import Ticker
from strait_daemon.services.timekeeper import Timekeeper
from strait_daemon.services.timers import Timers
from strait_daemon.services.unparker import Unparker
from strait_daemon.services.waker import Waker
from strait_daemon.settings import Mode, Settings, Supervised
from strait_daemon.telemetry import Metrics
from strait_daemon.tokens import TokenMaker
from strait_daemon.transports.postgresql import PostgresTransport
from strait_daemon.vault import Vault
from strait_daemon.worker.claimer import Claimer
from strait_daemon.worker.executor import Executor
from strait_daemon.worker.rehearsal import Rehearsal
from strait_daemon.worker.worker import Worker, WorkerPolicy
from strait_daemon.writer import TransitionWriter

POOL_MOST: Final = 10
AGENT: Final = f"strait/{strait_core.__version__}"
LAST_WRITES_SECS: Final = 3.0
# A tick that takes longer hangs; these read a whole table (a dead worker's runs, a partition that goes).
TICK_SECS: Final = 30.0
LONG_TICK_SECS: Final = 120.0

SET_BACK: Final = (
    "the database's clock was set back; what is stored with a time (retries, schedules) comes so much later"
)
SET_AHEAD: Final = "the database's clock was set ahead, or this machine slept; what has a time comes so much sooner"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Parts:
    """A running daemon's parts."""

    settings: Settings
    pool: Pool
    clock: DatabaseClock
    bus: Bus
    announcer: Announcer
    intake: Intake
    writer: TransitionWriter
    # Starts go over a connection of their own: behind a batch of endings they would keep free slots waiting.
    starter: TransitionWriter
    metrics: Metrics
    guard: Guard
    vault: Vault
    logbook: Logbook
    ender: Ender
    client: EgressClient
    breakers: Breakers
    executor: Executor
    rehearsal: Rehearsal
    worker: Worker | None = None
    reaper: Reaper | None = None
    relays: list[Relay] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)

    async def reread_clock(self) -> None:
        """Correct the clock. After a leap every heartbeat looks old, so the reaper waits until all have read it too."""
        async with self.pool.connection() as conn:
            off = await self.clock.reread(partial(clocks.database_time, conn))
        if abs(off.total_seconds()) > clocks.LEAP_SECS:
            detail = SET_BACK if off < timedelta(0) else SET_AHEAD
            log.warning("clock_corrected", by_secs=round(off.total_seconds(), 3), detail=detail)
            if self.reaper is not None:
                self.reaper.settle_again(clocks.REREAD_SECS)

    def wake_service(self, name: str) -> None:
        """Let the service of that name tick now, if this process has it."""
        for service in self.services:
            if service.name == name:
                service.wake()

    def new_id(self) -> UUID:
        """A fresh time-ordered id."""
        return ids.uuid7(self.clock.now(), random.getrandbits)

    async def ready(self) -> dict[str, ComponentHealth]:
        """What a readiness probe sees; a backlog never counts against it."""
        try:
            async with asyncio.timeout(2), self.pool.connection() as conn:
                await conn.execute("SELECT 1")
            database = ComponentHealth(ok=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the database did not answer
            database = ComponentHealth(ok=False, detail=type(error).__name__)
        return {"database": database}


async def prepare_database(settings: Settings) -> None:
    """Reach the database within ten seconds and bring its schema up to date."""
    conn = await first_connection(settings.direct_url)
    try:
        for migration in await migrate.up(conn, await clocks.database_time(conn)):
            log.info("migration_applied", version=migration.version, name=migration.name)
    finally:
        await conn.close()


async def build(settings: Settings, supervised: Supervised | None = None) -> Parts:
    """Construct every part that the mode asks for; nothing runs yet."""
    url = settings.database_url.get_secret_value()
    pooled = is_pooled(url, settings.direct_url)
    pool = await _pool(settings, url, pooled=pooled)
    metrics = Metrics()
    clock = DatabaseClock()
    async with pool.connection() as conn:
        clock.first(await clocks.database_time(conn))
    bus = await _bus(settings, url, pooled=pooled)

    announcer = Announcer(bus, clock, metrics)
    intake = Intake(Line(url, pooled=pooled), Line(url, pooled=pooled), clock, announcer)
    steps = TransitionWriter(Line(url, pooled=pooled), clock, announcer)
    writer = TransitionWriter(Line(url, pooled=pooled), clock, announcer, steps=steps)
    starter = TransitionWriter(Line(url, pooled=pooled), clock, announcer, linger_secs=0)
    guard = Guard(settings.allow_private_endpoints)
    vault = Vault(settings.sealing_keys)
    logbook = Logbook(Line(url, pooled=pooled), clock, announcer.moved)
    calling = _calling(settings, pool, clock, metrics, bus, guard, vault)
    ender = Ender(pool, Catalog(AGENT, guard, vault), writer, clock, metrics, calling[1].heard)
    storing = (announcer, intake, writer, starter)
    parts = Parts(settings, pool, clock, bus, *storing, metrics, guard, vault, logbook, ender, *calling)
    announcer.on_due(partial(parts.wake_service, "stager"))
    announcer.on_timer(partial(parts.wake_service, "timers"))
    if settings.mode is not Mode.API:
        worker_id = (supervised and supervised.worker_id) or uuid4()
        _add_worker(parts, worker_id, Line(url, pooled=pooled), Line(url, pooled=pooled))
    _add_services(parts, supervised.predecessor if supervised else None)
    return parts


async def _pool(settings: Settings, url: str, *, pooled: bool) -> Pool:
    pool = make_pool(url, pooled=pooled, most=POOL_MOST)
    if url != settings.direct_url:
        # The direct way was tried when the schema was prepared; a fault on this one should be as clear.
        await (await first_connection(url)).close()
    await pool.open(wait=True, timeout=START_SECS)
    return pool


def _calling(
    settings: Settings, pool: Pool, clock: DatabaseClock, metrics: Metrics, bus: Bus, guard: Guard, vault: Vault
) -> tuple[EgressClient, Breakers, Executor, Rehearsal]:
    """What calls endpoints."""
    client = EgressClient(guard)
    breakers = Breakers(pool, clock, timedelta(seconds=settings.breaker_cooldown), bus.breakers_changed)
    executor = Executor(client, TokenMaker(settings.jwt_signing_key.get_secret_value()), clock, metrics, breakers)
    return client, breakers, executor, Rehearsal(executor, client, Catalog(AGENT, guard, vault))


async def _bus(settings: Settings, url: str, *, pooled: bool) -> Bus:
    if settings.redis_url is None:
        return Bus(PostgresTransport(Line(url, pooled=pooled), Line(settings.direct_url, pooled=False)))
    from strait_daemon.transports.redis import RedisTransport  # noqa: PLC0415 - a tenth of the start, for who has one

    transport = RedisTransport(settings.redis_url.get_secret_value())
    try:
        async with asyncio.timeout(3):
            await transport.ping()
    except Exception as error:  # noqa: BLE001 - Redis carries only speed; the daemon runs without it
        log.warning("redis_unreachable", url=settings.redis_url.get_secret_value(), error=type(error).__name__)
    return Bus(transport)


def _add_worker(parts: Parts, worker_id: UUID, line: Line, heart: Line) -> None:
    settings = parts.settings
    policy = WorkerPolicy(
        id=worker_id,
        mode=settings.mode.value,
        version=strait_core.__version__,
        slots=settings.worker_pool_size,
        heartbeat_secs=settings.heartbeat_interval,
        stale_secs=settings.stale_threshold,
    )
    catalog = Catalog(AGENT, parts.guard, parts.vault)
    claimer = Claimer(policy.id, line, catalog, parts.writer, parts.clock, parts.announcer)
    worker = Worker(
        policy,
        pool=parts.pool,
        heart=heart,
        writers=(parts.starter, parts.writer),
        claimer=claimer,
        executor=parts.executor,
        catalog=catalog,
        clock=parts.clock,
        metrics=parts.metrics,
    )
    parts.worker = worker
    worker.on_accepted = partial(parts.wake_service, "callbacks")
    claimer.on_parked = partial(parts.wake_service, "refiller")
    parts.bus.on_freed(worker.freed)
    parts.bus.on_wake(worker.wake)
    parts.bus.on_taken(worker.taken)
    parts.services += [
        _service(parts, "heartbeat", worker.beat, settings.heartbeat_interval),
        _service(parts, "heart-watch", worker.watch_heart, min(1.0, settings.heartbeat_interval)),
    ]


def _add_services(parts: Parts, predecessor: UUID | None) -> None:
    settings = parts.settings
    parts.services += [
        _service(parts, "clock", parts.reread_clock, clocks.REREAD_SECS),
        _service(parts, "lookout", Lookout(parts.pool, parts.clock, parts.wake_service).tick, LOOKOUT_SECS),
        _breaker_watch(parts),
    ]
    if settings.mode is Mode.API:
        return
    stager = Stager(parts.pool, parts.clock, parts.bus.wake, parts.bus.runs_changed)
    reaper = parts.reaper = _reaper(parts, predecessor)
    parts.services += [
        _service(parts, "stager", stager.tick, REST_SECS),
        _service(parts, "timers", Timers(parts.pool, parts.clock, parts.announcer, parts.metrics).tick, REST_SECS),
        _service(parts, "ticker", _ticker(parts, Kind.JOB).tick, REST_SECS),
        _service(parts, "flow_ticker", _ticker(parts, Kind.WORKFLOW).tick, REST_SECS),
        _service(parts, "backfiller", _backfiller(parts).tick, BACKFILLER_SECS),
        _service(parts, "timekeeper", _timekeeper(parts).tick, REST_SECS),
        _service(parts, "opener", Opener(parts.pool, parts.clock, parts.bus.wake).tick, REST_SECS),
        _service(parts, "callbacks", _callbacks(parts).tick, REST_SECS),
        _service(parts, "reaper", reaper.tick, settings.reaper_interval, LONG_TICK_SECS),
        _service(parts, "retention", _retention(parts).tick, RETENTION_SECS, 5 * LONG_TICK_SECS),
        _service(parts, "outbox", _outbox(parts).tick, REST_SECS),
        _service(parts, "unparker", Unparker(parts.pool, parts.bus.wake).tick, REST_SECS),
        _service(parts, "refiller", Refiller(parts.pool, parts.clock, parts.bus.freed).tick, REST_SECS),
        _service(parts, "accountant", Accountant(parts.pool, parts.clock).tick, REST_SECS),
        _service(parts, "hygiene", Hygiene(parts.pool, parts.clock).tick, HYGIENE_SECS),
        _service(parts, "keykeeper", KeyKeeper(parts.pool, parts.clock).tick, KEYKEEPER_SECS),
        _service(parts, "waker", Waker(parts.pool, parts.clock, parts.bus).tick, REST_SECS),
    ]
    _add_relays(parts)


def _add_relays(parts: Parts) -> None:
    """What sends the feed of changes on, where that is asked for."""
    settings, post = parts.settings, (parts.client, parts.guard)
    parts.relays += relays(settings, parts.pool, parts.clock, post, AGENT, parts.metrics.changes_sent)
    parts.services += [_service(parts, f"changes-{relay.sink.name}", relay.tick, LOOK_SECS) for relay in parts.relays]


def _reaper(parts: Parts, predecessor: UUID | None) -> Reaper:
    settings, bus = parts.settings, parts.bus
    return Reaper(parts.pool, parts.writer, parts.clock, stale_after=settings.stale_after,
        settle_secs=2 * settings.heartbeat_interval, wake=bus.wake, changed=bus.runs_changed,
        predecessor=predecessor)  # fmt: skip


def _retention(parts: Parts) -> Retention:
    short, long = parts.settings.retention_short_days, parts.settings.retention_long_days
    return Retention(parts.pool, parts.clock, short_days=short, long_days=long)


def _breaker_watch(parts: Parts) -> Service:
    """In every mode: the API ends attempts too, when their endpoints say so."""
    watch = _service(parts, "breakers", parts.breakers.tick, REST_SECS)
    parts.breakers.on_news(watch.wake)
    parts.bus.on_breakers(watch.wake)
    return watch


def _ticker(parts: Parts, kind: Kind) -> Ticker:
    bus = parts.bus
    return Ticker(kind, parts.pool, parts.clock, parts.new_id, wake=bus.wake, changed=bus.runs_changed,
        taken=bus.runs_taken, brought=parts.announcer.brought)  # fmt: skip


def _backfiller(parts: Parts) -> Backfiller:
    return Backfiller(parts.pool, parts.clock, parts.new_id, wake=parts.bus.wake, changed=parts.bus.runs_changed,
        brought=parts.announcer.brought, kept_days=parts.settings.retention_long_days)  # fmt: skip


def _timekeeper(parts: Parts) -> Timekeeper:
    return Timekeeper(parts.pool, parts.clock, kept_days=parts.settings.retention_long_days)


def _callbacks(parts: Parts) -> Callbacks:
    stale, look = parts.settings.stale_after, parts.settings.reaper_interval
    return Callbacks(parts.pool, parts.ender, parts.clock, stale_after=stale, beat_secs=look)


def _outbox(parts: Parts) -> Outbox:
    settings = parts.settings
    return Outbox(
        parts.pool,
        parts.clock,
        parts.client,
        parts.guard,
        parts.vault,
        agent=AGENT,
        shape=run_shape,
        kept_days=(settings.retention_short_days, settings.retention_long_days),
    )


def _service(parts: Parts, name: str, tick: object, interval: float, timeout: float = TICK_SECS) -> Service:
    def failed(service: str) -> None:
        parts.metrics.service_errors.labels(service).inc()
        if service == "heartbeat" and parts.reaper is not None:
            # The reaper may look seldom: an outage between two of its looks is seen by who writes more often.
            parts.reaper.cut_off()

    return Service(name, tick, interval, timeout=timeout, failed=failed)  # type: ignore[arg-type]


def start(parts: Parts) -> None:
    """Set everything going."""
    parts.bus.start()
    for service in parts.services:
        service.start()
    if parts.worker is not None:
        parts.worker.start()


async def stop(parts: Parts, *, at_once: asyncio.Event) -> None:
    """Drain, write what is left, and let go of every connection; `at_once` cuts the drain short."""
    keep = {"heartbeat", "heart-watch", "clock", "breakers"}
    await asyncio.gather(*(s.stop() for s in parts.services if s.name not in keep))
    await leave(parts.relays, LAST_WRITES_SECS)
    if parts.worker is not None:
        await parts.worker.drain(parts.settings.drain_timeout, at_once)
    await asyncio.gather(*(s.stop() for s in parts.services if s.name in keep))
    # Each step has its own bound: a database that is away must not keep the process.
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_WRITES_SECS):
            await parts.writer.settle()
    held = parts.worker is not None and not parts.worker.holds_nothing()
    await asyncio.gather(parts.writer.close(), parts.starter.close(), parts.intake.close(), parts.logbook.close())
    # None of these needs another, and a database that does not answer would hold up each of them.
    last = [parts.client.close(), parts.bus.stop(), parts.pool.close(timeout=LAST_WRITES_SECS)]
    if parts.worker is not None:
        last.append(parts.worker.leave(held=held))
    await asyncio.gather(*last)
