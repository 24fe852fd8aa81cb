"""An attempt that has left its run waiting may end the run after all."""

from __future__ import annotations

import asyncio

from strait_core.errors import ValidationError
from strait_core.run import Status
from strait_core.schema import Judge
from strait_core.store import jobs, parking, runs, waits
from strait_core.store.pool import Conn
from strait_core.store.sdk import Speaker
from strait_core.store.workflow_live import Brought
from strait_daemon.api.context import Api
from strait_daemon.api.turns import retried, wait_briefly


async def end_waiting(
    api: Api, speaker: Speaker, status: Status, *, result: str | None = None, error: tuple[str, str] | None = None
) -> bool:
    """waiting → completed or failed, by the attempt that began to wait; False when the run is not waiting for it."""
    deps, brought = api.deps, Brought()
    now = deps.clock.now()
    async with api.connection() as conn:
        if result is not None:
            await _judge(conn, speaker, result)

        async def work() -> bool:
            nonlocal brought
            brought = Brought()
            async with conn.transaction():
                await wait_briefly(conn)
                return await parking.end_waiting(
                    conn, speaker.run_id, speaker.attempt, status, now, result=result, error=error, brought=brought
                )

        ended = await retried(work, "the run is in other hands; nothing was done")
        # Another run may have waited for this one.
        resumed = await waits.resume_ripe(conn, now) if ended else []
    deps.brought(brought)
    if ended:
        deps.bus.runs_changed([speaker.run_id, *resumed])
    if resumed:
        deps.bus.wake()
    return ended


async def _judge(conn: Conn, speaker: Speaker, result: str) -> None:
    """Refuse a result that is not as the schema of the run's job says."""
    row = await runs.get_run(conn, speaker.run_id)
    version = (row["job_id"], row["job_version"]) if row is not None else None
    spec = (await jobs.definitions(conn, {version})).get(version) if version is not None else None
    if spec is not None and spec.result_schema is not None:
        faults = await asyncio.to_thread(Judge(spec.result_schema).faults, "/result", result)
        if faults:
            raise ValidationError(faults)
