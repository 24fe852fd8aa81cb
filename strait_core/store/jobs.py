"""Jobs and their versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from strait_core import breaker
from strait_core.job import JobSpec, VersionPolicy
from strait_core.limits import FIELDS as LIMIT_FIELDS
from strait_core.limits import is_limited
from strait_core.store import changes, limits, rates
from strait_core.store.pool import Conn
from strait_core.store.sql import load
from strait_core.wire.changes import Kind

_SQL = load("jobs")
_decode = msgspec.json.Decoder(JobSpec).decode


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as it stands now: its newest definition and what lies around it."""

    id: UUID
    spec: JobSpec
    enabled: bool
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None
    version: int
    version_id: UUID
    created_at: datetime
    updated_at: datetime
    # Whether its project has a budget; known where a trigger looks the job up.
    budgeted: bool = False


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One immutable version."""

    version: int
    version_id: UUID
    definition: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list of jobs is narrowed to; None or empty leaves a field open."""

    project_id: str | None = None
    tags: Mapping[str, str] | None = None
    enabled: bool | None = None
    paused: bool | None = None
    slug: str | None = None
    id_range: tuple[UUID, UUID] | None = None


def _job(row: Mapping[str, Any]) -> StoredJob:
    return StoredJob(
        id=row["id"],
        spec=_decode(row["definition"]),
        enabled=row["enabled"],
        paused=row["paused"],
        paused_at=row["paused_at"],
        pause_reason=row["pause_reason"],
        version=row["version"],
        version_id=row["version_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        budgeted=row.get("budgeted", False),
    )


async def _one(conn: Conn, statement: str, values: Mapping[str, Any]) -> StoredJob | None:
    row = await _SQL.one(conn, statement, values)
    return None if row is None else _job(row)


async def _told(conn: Conn, job: StoredJob | None, what: str, now: datetime) -> StoredJob | None:
    """The job as it is now, after the feed of changes was told what has become of it."""
    if job is not None:
        whose = (job.id, None)
        await changes.tell(conn, Kind.JOB, whose, job.spec.project_id, seq=job.version, status=what, now=now)
    return job


def _stored(spec: JobSpec) -> dict[str, Any]:
    return {
        "slug": spec.slug,
        "latest": spec.version_policy is VersionPolicy.LATEST,
        "tags": Jsonb(spec.tags),
        "breaker": breaker.of_job(spec),
        "definition": msgspec.json.encode(spec).decode(),
        **{name: getattr(spec, name) for name in LIMIT_FIELDS},
        "rate_limit_keys": rates.stored(spec.rate_limit_keys),
    }


async def insert_job(
    conn: Conn, job_id: UUID, version_id: UUID, spec: JobSpec, now: datetime, *, enabled: bool
) -> StoredJob | None:
    """Store a new job as version 1; None when its slug is taken in its project."""
    values = {
        **_stored(spec),
        "id": job_id,
        "project_id": spec.project_id,
        "version_id": version_id,
        "enabled": enabled,
        "gated": not enabled or is_limited(spec),
        "now": now,
    }
    return await _told(conn, await _one(conn, "insert_job", values), "created", now)


async def job_by_id(conn: Conn, job_id: UUID) -> StoredJob | None:
    """The job of that id, unless it was deleted."""
    return await _one(conn, "job_by_id", {"id": job_id})


async def jobs_by_slug(conn: Conn, slug: str, project: str | None) -> list[StoredJob]:
    """The jobs of that slug, one for each project that has one (at most 10); `project` narrows to one."""
    return [_job(row) for row in await _SQL.rows(conn, "jobs_by_slug", {"slug": slug, "project": project})]


async def lock_job(conn: Conn, job_id: UUID) -> StoredJob | None:
    """The job, held for an update until the caller's transaction ends."""
    return await _one(conn, "lock_job", {"id": job_id})


async def update_job(
    conn: Conn, job: StoredJob, spec: JobSpec, version_id: UUID, now: datetime, *, enabled: bool
) -> StoredJob | None:
    """Store a changed definition as the next version; an unchanged one keeps its version. Needs `lock_job` before.

    Raises psycopg's UniqueViolation when the new slug is taken.
    """
    changed = spec != job.spec
    values = {
        **_stored(spec),
        "id": job.id,
        "enabled": enabled,
        "version": job.version + changed,
        "version_id": version_id if changed else job.version_id,
        "gated": not enabled or is_limited(spec),
        "last_limit": is_limited(job.spec) and not is_limited(spec),
        "first_limit": is_limited(spec) and not is_limited(job.spec),
        "now": now,
    }
    async with conn.transaction():
        if values["first_limit"]:
            await limits.close_ranks(conn)
        named = spec.rate_limit_keys != job.spec.rate_limit_keys
        if named or spec.max_concurrency_per_key != job.spec.max_concurrency_per_key:
            await limits.unpark_job(conn, job.id)
        if named:
            await rates.refit(conn, job.id, spec.rate_limit_keys, now)
        stored = await _one(conn, "update_job", values)
        return await _told(conn, stored, "updated", now)


async def pause_job(conn: Conn, job_id: UUID, reason: str | None, now: datetime) -> StoredJob | None:
    """Hold all runs of a job; None when it is gone."""
    return await _told(conn, await _one(conn, "pause_job", {"id": job_id, "reason": reason, "now": now}), "paused", now)


async def resume_job(conn: Conn, job_id: UUID, now: datetime) -> StoredJob | None:
    """Let the runs of a paused job start again; None when it is gone."""
    return await _told(conn, await _one(conn, "resume_job", {"id": job_id, "now": now}), "resumed", now)


async def delete_job(conn: Conn, job_id: UUID, now: datetime) -> bool:
    """Hide a job and free its slug; False when runs of it are not terminal. Needs `lock_job` before."""
    if await _SQL.rows(conn, "active_runs_of_job", {"id": job_id}):
        return False
    (row,) = await _SQL.rows(conn, "delete_job", {"id": job_id, "now": now})
    whose = (job_id, None)
    await changes.tell(conn, Kind.JOB, whose, row["project_id"], seq=row["version"], status="deleted", now=now)
    return True


async def list_jobs(conn: Conn, where: JobFilter, *, limit: int, before: UUID | None) -> list[StoredJob]:
    """Jobs that match, newest first, older than `before`."""
    conditions: list[sql.Composable] = [sql.SQL("deleted_at IS NULL")]
    values: dict[str, Any] = {"limit": limit, "before": before}
    for name in ("project_id", "enabled", "paused", "slug"):
        if getattr(where, name) is not None:
            conditions.append(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)))
            values[name] = getattr(where, name)
    if where.tags:
        conditions.append(sql.SQL("tags @> %(tags)s"))
        values["tags"] = Jsonb(where.tags)
    if where.id_range is not None:
        conditions.append(sql.SQL("id BETWEEN %(low)s AND %(high)s"))
        values["low"], values["high"] = where.id_range
    if before is not None:
        conditions.append(sql.SQL("id < %(before)s"))
    statement = sql.SQL("SELECT * FROM strait.jobs WHERE {} ORDER BY id DESC LIMIT %(limit)s").format(
        sql.SQL(" AND ").join(conditions)
    )
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(statement, values)
        return [_job(row) for row in await cursor.fetchall()]


async def job_versions(conn: Conn, job_id: UUID, *, limit: int, before: int | None) -> list[StoredVersion]:
    """The versions of a job, newest first, below `before`."""
    rows = await _SQL.rows(conn, "job_versions", {"id": job_id, "limit": limit, "before": before})
    return [StoredVersion(**row) for row in rows]


async def definitions(conn: Conn, wanted: Collection[tuple[UUID, int]]) -> dict[tuple[UUID, int], JobSpec]:
    """The definitions of the named (job, version) pairs."""
    pairs: Sequence[tuple[UUID, int]] = list(wanted)
    values = {"jobs": [job for job, _ in pairs], "versions": [version for _, version in pairs]}
    rows = await _SQL.rows(conn, "definitions", values)
    return {(row["job_id"], row["version"]): _decode(row["definition"]) for row in rows}
