"""Short words for waits and events, on top of a scene."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from strait_core.run import Status
from strait_core.store import events, parking, queue, waits
from strait_core.store.claims import Claimed
from strait_core.store.events import Sent
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.waits import Told
from tests.store.scene import Scene

HOUR = timedelta(hours=1)


async def wait_for(
    scene: Scene, live: Claimed, key: str = "k", *, within: timedelta = HOUR, conn: Conn | None = None
) -> Told | None:
    """Record that a live attempt waits for an event, for an hour."""
    due_at = scene.now + within
    return await events.begin_wait(conn or scene.conn, live.id, live.attempt, key, due_at=due_at, now=scene.now)


async def send(scene: Scene, key: str = "k", payload: str = '{"n": 1}', *, conn: Conn | None = None) -> Sent:
    """Send an event, and let go on who waits for nothing any more, in one transaction."""
    conn = conn or scene.conn
    async with conn.transaction():
        sent = await events.send(conn, "p", key, payload, sha256(payload.encode()).hexdigest(), scene.now)
        await waits.resume_ripe(conn, scene.now)
    return sent


async def end(
    scene: Scene, live: Claimed, status: Status = Status.COMPLETED, *, conn: Conn | None = None, **facts: Any
) -> bool:
    """End an attempt as the writer does: the ordinary way, else the longer one."""
    conn = conn or scene.conn
    ending = scene.ending(live, status, **facts)
    if await queue.finish_if_held(conn, [ending], scene.now):
        return True
    return live.id in (await parking.end_tied(conn, [ending], scene.now)).held


async def fail_once(scene: Scene, live: Claimed, **facts: Any) -> bool:
    """End an attempt by a retry at once, as the writer does."""
    ending = scene.repeat(live, **facts)
    if await queue.retry_if_held(scene.conn, [ending], scene.now):
        return True
    return live.id in (await parking.end_tied(scene.conn, [ending], scene.now)).held


async def spawn(scene: Scene, live: Claimed, job: StoredJob, *, wait: bool = True) -> UUID:
    """A child of a live attempt, waited for or not."""
    child = replace(scene.new_run(job), parent_run_id=live.id, lineage_depth=1)
    async with scene.conn.transaction():
        assert await waits.mark(scene.conn, live.id, live.attempt)
        assert await queue.insert_runs(scene.conn, [child], scene.now) == {child.id}
        if wait:
            await waits.record_child(scene.conn, live.id, live.attempt, child.id, scene.now)
    return child.id


async def claimed(scene: Scene, run_id: UUID) -> Claimed:
    """The live attempt of a run that is ready; it begins."""
    (found,) = [one for one in await scene.start(*await scene.claim()) if one.id == run_id]
    return found


async def resume(scene: Scene) -> list[UUID]:
    """What the service does each second."""
    return await waits.resume_ripe(scene.conn, scene.now)


async def waiting(scene: Scene, job: StoredJob, *keys: str) -> Claimed:
    """A run that waits for events; its last attempt."""
    live = await scene.executing_beside(job)
    for key in keys or ("k",):
        assert await wait_for(scene, live, key)
        if keys:
            # Ids of one millisecond have no order.
            scene.later(milliseconds=1)
    assert await end(scene, live)
    assert await scene.status(live.id) == "waiting"
    return live
