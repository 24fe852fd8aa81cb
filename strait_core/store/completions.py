"""What an ending brings about: runs that it starts, and the success that a schedule expects.

All of it is stored by the very transaction that ends the run, or not at all.

So a crash leaves both or neither, and who loses the race for an ending starts nothing. A target that takes no runs is
noted on the run that ended; nothing here ever keeps a run from ending.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from strait_core import completion, ids
from strait_core.completion import MAX_CHAIN, TRIGGERED_BY, Onward
from strait_core.job import JobSpec
from strait_core.run import Status
from strait_core.schema import Judge
from strait_core.store import budgets, deadlines, queue, targets
from strait_core.store.faults import Broken, Refused
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.sql import load
from strait_core.template import TooLongError
from strait_core.trigger import MAX_PAYLOAD_BYTES, NewRun, new_run
from strait_core.wire import NewRunRequest

_SQL = load("completions")
_decode: Final = lru_cache(1_024)(msgspec.json.Decoder(JobSpec).decode)
_judge: Final = lru_cache(256)(lambda schema: Judge(msgspec.json.decode(schema)))
# Beyond this the payload is made off the event loop.
_LONG: Final = 128 * 1024
_CLOCK_SLACK: Final = timedelta(days=1)
# A target that is changed just now is looked at again.
_TRIES: Final = 3
SPENT: Final = "the project has spent its budget of the day"
Row = dict[str, Any]

if TYPE_CHECKING:
    from strait_core.store.workflow_live import Brought


class Refusal(Exception):  # noqa: N818 - a verdict, told on the run
    """Why nothing is started."""


async def follow(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought | None = None) -> list[NewRun]:
    """Start what these runs start, which the caller's transaction has just ended; the new runs.

    What has come of workflow runs is told in `brought`.
    """
    made_at = min(map(ids.time_of, run_ids)) - _CLOCK_SLACK
    started: list[NewRun] = []
    succeeded: dict[UUID, datetime] = {}
    for row in await _SQL.rows(conn, "ended_runs", {"ids": list(run_ids), "made_at": made_at}):
        spec = _decode(row["definition"])
        if row["status"] == Status.COMPLETED and spec.expect_every_secs is not None:
            succeeded[row["job_id"]] = max(row["finished_at"], succeeded.get(row["job_id"], row["finished_at"]))
        for onward in completion.onward(spec, Status(row["status"])):
            try:
                # A savepoint: whatever the database says of the new run, the ending stands.
                async with conn.transaction():
                    if onward.is_flow:
                        from strait_core.store import workflow_triggers  # noqa: PLC0415 - its runs' ends come by here

                        await workflow_triggers.start(conn, row, onward, now, brought)
                    else:
                        started.append(await _start(conn, row, onward, now))
            except Broken:
                raise
            except (Refusal, Refused) as error:
                why = str(error).partition("\n")[0] or type(error).__name__
                await warn(conn, row, f"{onward.field} did not start {onward.ref!r}: {why}")
    await deadlines.note_successes(conn, succeeded)
    return started


async def warn(conn: Conn, row: Row, warning: str) -> None:
    """Say on a run that has ended what it could not do."""
    await _SQL.rows(conn, "warn", {"id": row["id"], "finished_at": row["finished_at"], "warning": warning})


def depth_after(row: Row) -> int:
    """How many runs have started one another with the new one; a workflow counts as one."""
    depth: int = (row["lineage_depth"] or 0) + 1
    if depth > MAX_CHAIN:
        raise Refusal(f"{MAX_CHAIN} runs have started one another already")
    return depth


async def _start(conn: Conn, row: Row, onward: Onward, now: datetime) -> NewRun:
    depth, made = depth_after(row), None
    for _ in range(_TRIES):
        job = await _target(conn, row["project_id"], onward.ref)
        if job.budgeted and await budgets.spent_until(conn, row["project_id"], now) is not None:
            raise Refusal(SPENT)
        made = made or await payload_after(row, onward)
        if job.spec.payload_schema is not None:
            faults = _judge(msgspec.json.encode(job.spec.payload_schema)).faults("payload", made[0])
            if faults:
                raise Refusal("; ".join(f"{fault.pointer} {fault.message}" for fault in faults[:3]))
        run = _new_run(row, job, made, depth, now)
        if run.id in await queue.insert_runs(conn, [run], now):
            return run
    raise Refusal("it keeps changing")


async def _target(conn: Conn, project_id: str, ref: str) -> StoredJob:
    """The job that is to be started, if it takes runs now."""
    job = await targets.job_named(conn, project_id, ref)
    if job is None:
        raise Refusal("there is no such job")
    if not job.enabled:
        raise Refusal("the job is disabled")
    if job.paused:
        raise Refusal("the job is paused")
    if targets.gathers(job.spec):
        raise Refusal("the job has a window in which its triggers meet")
    return job


async def payload_after(row: Row, onward: Onward) -> tuple[str, tuple[str, ...]]:
    """The new run's payload, and the paths of the mapping that led nowhere."""
    facts = {
        "id": ids.spell(ids.Prefix.RUN, row["id"]),
        "job_id": ids.spell(ids.Prefix.JOB, row["job_id"]),
        **{
            name: row[name]
            for name in ("job_slug", "project_id", "status", "attempt", "error_class", "tags", "metadata")
        },
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
    }
    told = {"payload": row["payload"], "result": row["result"], "error": row["error"], "run": facts}
    size = len(row["payload"]) + len(row["result"] or "")
    try:
        if size > _LONG:
            filled = await asyncio.to_thread(completion.payload, onward.mapping, **told, most=MAX_PAYLOAD_BYTES)
        else:
            filled = completion.payload(onward.mapping, **told, most=MAX_PAYLOAD_BYTES)
    except TooLongError:
        raise Refusal(f"the payload is over {MAX_PAYLOAD_BYTES} bytes") from None
    return filled.text, filled.missing


def _new_run(row: Row, job: StoredJob, made: tuple[str, Sequence[str]], depth: int, now: datetime) -> NewRun:
    text, missing = made
    run = new_run(
        NewRunRequest(payload=Raw(text.encode())),
        job.spec,
        run_id=ids.uuid7(now, random.getrandbits),
        job_id=job.id,
        job_version=job.version,
        now=now,
        triggered_by=TRIGGERED_BY,
    )
    warnings = [f"{{{{{path}}}}} of the payload mapping led nowhere" for path in missing]
    return replace(run, parent_run_id=row["id"], lineage_depth=depth, warnings=warnings or None)
