"""Who has applied what: the objects of manifests. Every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.wire.manifests import Kind

_SQL = load("manifests")


@dataclass(frozen=True, slots=True)
class Held:
    """Objects that are locked, by kind and slug: those named, and others that go by a named calendar."""

    ids: dict[tuple[Kind, str], UUID]


@dataclass(frozen=True, slots=True)
class Owned:
    """An object that a manifest has applied and that is still there."""

    kind: Kind
    id: UUID
    slug: str


async def one_at_a_time(conn: Conn, project: str) -> None:
    """Wait for whoever else carries out a manifest of this project, until the caller's transaction ends."""
    await conn.execute(query(_SQL["one_manifest_at_a_time"]), {"project_id": project})


async def owned(conn: Conn, project: str, manifest: str) -> list[Owned]:
    """What a manifest has applied and what is still there."""
    values = {"project_id": project, "manifest": manifest}
    cursor = await conn.execute(query(_SQL["owned"]), values)
    return [Owned(Kind(kind), object_id, slug) for kind, object_id, slug in await cursor.fetchall()]


async def hold(conn: Conn, project: str, wanted: Collection[tuple[Kind, str]]) -> Held:
    """Lock the objects of these names that there are: workflows, then jobs, then calendars, as others do."""
    slugs = {kind: Jsonb(sorted(slug for one, slug in wanted if one is kind)) for kind in Kind}
    found: dict[tuple[Kind, str], UUID] = {}
    for kind, statement in (
        (Kind.WORKFLOW, "lock_workflows"),
        (Kind.JOB, "lock_jobs"),
        (Kind.CALENDAR, "lock_calendars"),
    ):
        values = {"project_id": project, "slugs": slugs[kind], "calendars": slugs[Kind.CALENDAR]}
        cursor = await conn.execute(query(_SQL[statement]), values)
        found |= {(kind, slug): object_id for object_id, slug in await cursor.fetchall()}
    return Held(found)


async def owners(conn: Conn, object_ids: Collection[UUID]) -> dict[UUID, str]:
    """Which manifest has applied each of these last; one that none has is absent."""
    cursor = await conn.execute(query(_SQL["owners"]), {"ids": Jsonb([str(one) for one in object_ids])})
    return dict(await cursor.fetchall())


async def own(conn: Conn, project: str, manifest: str, objects: Collection[Owned], now: datetime) -> None:
    """Make these objects the manifest's, and forget what was its and is gone."""
    said = [{"object_id": str(one.id), "kind": one.kind.value} for one in objects]
    values = {"project_id": project, "manifest": manifest, "objects": Jsonb(said), "now": now}
    await conn.execute(query(_SQL["own"]), values)
    await conn.execute(query(_SQL["disown"]), {"project_id": project, "manifest": manifest})
