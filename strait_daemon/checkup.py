"""What `strait doctor` asks of the daemon's side: settings, the process, the database, the queue. Nothing is changed.

Each function gives findings; who asks puts them together. A fix is a sentence that somebody can follow.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from strait_core.run import Status
from strait_core.store import checkup, hygiene, migrate, sinks, stats, workers
from strait_core.store.pool import Conn
from strait_core.wire.doctor import Finding, Verdict
from strait_daemon.settings import LOOPBACK, NEW_SECRET, PLACEHOLDERS, Mode, Settings

REDIS_SECS: Final = 3.0
# Files that a process has open beside one connection for each attempt: pools, the listening socket, clients, logs.
FILES_BESIDE: Final = 128
# Connections of one process at most: its pool, and those that writer, claimer, heart and bus have to themselves.
CONNECTIONS_EACH: Final = 20
# A ready run that has waited for so long while slots are free is not being claimed.
LONG_SECS: Final = 60.0
MOST_NAMED: Final = 5
_PASS, _WARN, _FAIL = Verdict.PASS, Verdict.WARN, Verdict.FAIL


def finding(check: str, status: Verdict, detail: str, fix: str | None = None) -> Finding:
    """One thing that was looked at."""
    return Finding(check=check, status=status, detail=detail, fix=fix)


# ── the process ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def process_findings(settings: Settings) -> list[Finding]:
    """What this process was given: its secrets, Redis, files."""
    return [*_secrets(settings), await _redis(settings), _files(settings), _private(settings)]


def _secrets(settings: Settings) -> Iterator[Finding]:
    values = {
        "INTERNAL_SECRET": settings.internal_secret.get_secret_value(),
        "JWT_SIGNING_KEY": settings.jwt_signing_key.get_secret_value(),
    }
    fix = f"make another: {NEW_SECRET}"
    for name, value in values.items():
        if value in PLACEHOLDERS:
            verdict = _WARN if settings.host in LOOPBACK else _FAIL
            yield finding(f"secret {name}", verdict, "is the placeholder of the documentation", fix)
        elif len(set(value)) < 10:
            yield finding(f"secret {name}", _WARN, f"has {len(set(value))} different characters: easy to guess", fix)
        else:
            yield finding(f"secret {name}", _PASS, f"{len(value)} characters")
    if values["INTERNAL_SECRET"] == values["JWT_SIGNING_KEY"]:
        yield finding("secrets differ", _WARN, "INTERNAL_SECRET and JWT_SIGNING_KEY are the same", fix)
    if settings.encryption_key is None:
        said = "not set: secrets of jobs are encrypted with a key derived from JWT_SIGNING_KEY"
        yield finding("secret ENCRYPTION_KEY", _WARN, said, f"set it: {NEW_SECRET}")
    else:
        yield finding("secret ENCRYPTION_KEY", _PASS, "set")


async def _redis(settings: Settings) -> Finding:
    if settings.redis_url is None:
        return finding("redis", _PASS, "not used: live events travel by PostgreSQL")
    from strait_daemon.transports.redis import RedisTransport  # noqa: PLC0415 - a tenth of the start, for who has one

    transport = RedisTransport(settings.redis_url.get_secret_value())
    try:
        async with asyncio.timeout(REDIS_SECS):
            await transport.ping()
    except Exception as error:  # noqa: BLE001 - whatever it is, it did not answer
        said = f"does not answer ({type(error).__name__}): live events between processes come late"
        return finding("redis", _WARN, said, "start it, correct REDIS_URL, or leave REDIS_URL out")
    finally:
        await transport.close()
    return finding("redis", _PASS, "answers")


def _files(settings: Settings) -> Finding:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = FILES_BESIDE + (0 if settings.mode is Mode.API else settings.worker_pool_size)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        said = f"{limit} may be open, WORKER_POOL_SIZE {settings.worker_pool_size} may need {wanted}"
        return finding("open files", _WARN, said, f"ulimit -n {2 * wanted}, or a smaller WORKER_POOL_SIZE")
    return finding("open files", _PASS, f"{limit if limit != resource.RLIM_INFINITY else 'any number'} may be open")


def _private(settings: Settings) -> Finding:
    opened = str(settings.allow_private_endpoints)
    return finding("private endpoints", _PASS, f"ALLOW_PRIVATE_ENDPOINTS is {opened}")


# ── the database ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def database_findings(conn: Conn, now: datetime) -> list[Finding]:
    """The server and its settings, the schema, what holds back the removal of dead rows."""
    set_to = await checkup.settings(conn)
    return [
        finding("postgresql", _PASS, f"version {set_to['server_version']}"),
        await _migrations(conn),
        *_switches(set_to),
        await _connections(conn, set_to),
        await _snapshots(conn, now),
    ]


async def _migrations(conn: Conn) -> Finding:
    rows = await migrate.status(conn)
    waiting = [row for row in rows if row.applied_at is None]
    newer = [row for row in rows if row.name.startswith("(")]
    if waiting:
        return finding("migrations", _FAIL, f"{len(waiting)} wait to be applied", "strait migrate up")
    if newer:
        said = f"the database has {len(newer)} of a newer release"
        return finding("migrations", _WARN, said, "upgrade this program: strait version")
    return finding("migrations", _PASS, f"all {len(rows)} are applied")


def _switches(set_to: dict[str, str]) -> Iterator[Finding]:
    hurts = {
        "autovacuum": "dead rows stay, and the queue gets slower with every run",
        "track_counts": "autovacuum does not see what to clean",
        "fsync": "a crash of the machine may lose or damage runs",
        "full_page_writes": "a crash of the machine may damage runs",
    }
    for name, why in hurts.items():
        if set_to.get(name, "on") == "on":
            yield finding(name, _PASS, "on")
        else:
            yield finding(name, _WARN, f"off: {why}", f"ALTER SYSTEM SET {name} = on; then reload the server")
    if set_to.get("default_transaction_read_only") == "on":
        yield finding("writing", _FAIL, "the database takes no writes", "point DATABASE_URL at the primary")


async def _connections(conn: Conn, set_to: dict[str, str]) -> Finding:
    found = await checkup.connections(conn)
    most = int(set_to["max_connections"]) - int(set_to["superuser_reserved_connections"])
    said = f"{found.used} of {most} in use, {found.ours} of them Strait's"
    if most - found.used < CONNECTIONS_EACH:
        return finding("connections", _WARN, f"{said}: another process may find none", "raise max_connections")
    return finding("connections", _PASS, said)


async def _snapshots(conn: Conn, now: datetime) -> Finding:
    held = await hygiene.holders(conn, now)
    if not held:
        return finding("held snapshots", _PASS, "none is older than 30 s")
    oldest = held[0]
    said = f"{oldest.kind} {oldest.name} has been open for {oldest.age_secs:.0f} s: dead rows cannot be removed"
    return finding("held snapshots", _WARN, said, "end it, or set idle_in_transaction_session_timeout")


# ── the queue ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def queue_findings(conn: Conn, now: datetime, stale_after: timedelta) -> list[Finding]:
    """Who works, what waits, what has failed for good."""
    return [await _workers(conn, now - stale_after), *await _waiting(conn, now, stale_after)]


async def _workers(conn: Conn, alive_since: datetime) -> Finding:
    rows = [row for row in await workers.list_workers(conn) if row.heartbeat_at >= alive_since]
    takers = [row for row in rows if not row.draining]
    if not takers:
        said = "none takes runs" + (f": all {len(rows)} are draining" if rows else "")
        return finding("workers", _FAIL, said, "start one: strait serve --mode worker")
    used, total = sum(row.in_flight for row in takers), sum(row.slots for row in takers)
    if used >= total:
        return finding(
            "workers", _WARN, f"all {total} slots are in use", "more processes, or a larger WORKER_POOL_SIZE"
        )
    return finding("workers", _PASS, f"{len(takers)} with {used} of {total} slots in use")


async def _waiting(conn: Conn, now: datetime, stale_after: timedelta) -> list[Finding]:
    depth = await stats.depth(conn, None)
    held = await stats.held(conn, None, now)
    oldest = await stats.oldest_ready(conn)
    fleet = await stats.fleet(conn, now - stale_after)
    age = 0.0 if oldest is None else (now - oldest).total_seconds()
    found = [finding("queue", _PASS, f"{max(0, depth.get(Status.QUEUED, 0))} queued, the oldest ready for {age:.0f} s")]
    if age > LONG_SECS and fleet.used < fleet.total:
        said = f"a run has been ready for {age:.0f} s although slots are free"
        found = [finding("queue", _WARN, said, "ask why: strait runs explain RUN; see the workers' logs")]
    if held:
        said = ", ".join(f"{count} by {reason}" for reason, count in sorted(held.items()))
        found.append(finding("held runs", _PASS, f"{said}; each says why: strait runs explain RUN"))
    dead = max(0, depth.get(Status.DEAD_LETTER, 0))
    if dead:
        said = "1 run" if dead == 1 else f"{dead} runs"
        found.append(finding("dead letters", _WARN, f"{said} failed for good", "strait runs dlq"))
    return found


async def breaker_findings(conn: Conn) -> list[Finding]:
    """Endpoints that are left alone because they keep failing."""
    held = await checkup.open_breakers(conn, MOST_NAMED + 1)
    if not held:
        return [finding("breakers", _PASS, "all closed")]
    return [
        finding(
            f"endpoint of {one.job_slug}",
            _WARN,
            "keeps failing: its runs are held" + (f" until {one.until:%H:%M:%S} UTC" if one.until else ""),
            f"strait jobs test {one.job_slug} --project {one.project_id}",
        )
        for one in held[:MOST_NAMED]
    ]


async def sink_findings(conn: Conn, now: datetime, names: Sequence[str]) -> list[Finding]:
    """Whether changes reach those sinks."""
    if not names:
        return []
    known = {one.name: one for one in await sinks.standing(conn, names)}
    return [_sink(name, known.get(name), now) for name in names]


def _sink(name: str, found: sinks.Standing | None, now: datetime) -> Finding:
    check = f"changes to {name}"
    if found is None:
        return finding(check, _WARN, "no process has sent any yet", "start one: strait serve --mode worker")
    behind = 0.0 if found.waiting_since is None else max(0.0, (now - found.waiting_since).total_seconds())
    said = f"{behind:.0f} s behind"
    lost = "; some were not sent in time and are lost" if found.lost_at is not None else ""
    if found.failing_since is not None:
        verdict = _FAIL if found.is_refused or lost else _WARN
        why = "refused" if found.is_refused else "failing"
        return finding(check, verdict, f"{why} since {found.failing_since:%F %T} UTC: {found.error}{lost}", _SINK_FIX)
    if behind > LONG_SECS or lost:
        return finding(check, _WARN, said + lost, "see the log of the process that sends: changes_not_sent")
    return finding(check, _PASS, said)


_SINK_FIX: Final = "mend the receiver or the CHANGES_ settings; it is tried again by itself (see docs/cdc.md)"
