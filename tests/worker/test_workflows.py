"""Workflow runs through the real parts: writer, worker, timers, and what may happen to them on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from strait_core.run import Status
from strait_core.store import claims, pool, queue, workflow_runs, workflows
from strait_core.store.claims import Claimed
from strait_core.store.pool import Conn
from strait_core.store.queue import Finish, Start
from strait_core.store.verdict import Verdict
from strait_core.store.workflow_finishes import finish_steps
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_runs import NewWorkflowRun
from strait_core.store.workflows import StoredWorkflow
from strait_core.workflow.definition import WorkflowSpec, step_of
from strait_core.workflow.states import RUN_TERMINAL, RunStatus
from strait_daemon import writer
from strait_daemon.services import callbacks
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.rig import Rig, eventually, proxied, running


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """A rig on the test's own database, in which no sweep has found anything to do."""
    async with running(migrated) as made:
        yield made
        assert swept(made) == 0


def swept(rig: Rig) -> float:
    """How often a sweep had anything to do."""
    value: float = rig.parts.metrics.swept._value.get()
    return value


async def workflow(rig: Rig, *steps: Mapping[str, Any], slug: str = "w", **settings: Any) -> StoredWorkflow:
    """Store a workflow; a step without a type is one of the job `job`."""
    made = [step_of({"job_id": "job", **step} if "step_type" not in step else step) for step in steps]
    spec = WorkflowSpec("p", slug, slug, tuple(made), **settings)
    now, new_id = rig.parts.clock.now(), rig.parts.new_id
    stored = await workflows.insert_workflow(rig.conn, new_id(), new_id(), spec, now, enabled=True)
    assert stored is not None
    return stored


async def trigger(rig: Rig, of: StoredWorkflow, payload: Any = None) -> UUID:
    """Trigger a run as the API does."""
    brought = Brought()
    new = NewWorkflowRun(rig.parts.new_id(), json.dumps(payload or {}), {}, {}, (), "manual")
    async with rig.parts.pool.connection() as conn, conn.transaction():
        await workflow_runs.trigger(conn, of, new, rig.parts.clock.now(), brought)
    rig.parts.announcer.brought(brought)
    return new.id


async def over(rig: Rig, run_id: UUID, seconds: float = 30) -> dict[str, Any]:
    """Wait until the workflow run is over; its row."""

    async def look() -> dict[str, Any] | None:
        row = await workflow_runs.get_run(rig.conn, run_id)
        assert row is not None
        return row if RunStatus(row["status"]) in RUN_TERMINAL else None

    row: dict[str, Any] = await eventually(look, seconds, f"workflow run {run_id} never ended")
    return row


async def test_a_chain_runs_to_its_end(rig: Rig, endpoint: Endpoint) -> None:
    """Each hop through claim, endpoint and writer; outputs go from step to step."""
    await rig.job(endpoint.url("/echo"))
    steps = [{"step_ref": f"s{n}", "depends_on": [f"s{n - 1}"] if n else []} for n in range(10)]
    run_id = await trigger(rig, await workflow(rig, *steps), {"n": 1})
    assert (await over(rig, run_id))["status"] == "completed"
    assert [json.loads(call.body)["n"] for call in endpoint.calls] == [1] * 10
    await rig.check()


async def test_a_sleep_is_accurate(rig: Rig, endpoint: Endpoint) -> None:
    """The timer wakes for it: less than a second late, never early."""
    await rig.job(endpoint.url("/ok"))
    made = await workflow(
        rig,
        {"step_ref": "a", "step_type": "sleep", "sleep_duration": "1s500ms"},
        {"step_ref": "b", "depends_on": ["a"]},
    )
    run_id = await trigger(rig, made)
    row = await over(rig, run_id)
    steps = await workflow_runs.steps_of(rig.conn, run_id)
    took = steps[0]["finished_at"] - steps[0]["started_at"]
    assert timedelta(seconds=1.5) <= took < timedelta(seconds=2.5)
    assert row["status"] == "completed"


async def test_a_crowded_workflow_goes_through_its_runs(rig: Rig, endpoint: Endpoint) -> None:
    """max_concurrent_runs: each end makes room for the next run, without anybody looking on."""
    await rig.job(endpoint.url("/ok"))
    made = await workflow(rig, {"step_ref": "a"}, max_concurrent_runs=1)
    runs = [await trigger(rig, made) for _ in range(5)]
    rows = [await over(rig, run_id) for run_id in runs]
    assert {row["status"] for row in rows} == {"completed"}
    ends = [(row["started_at"], row["finished_at"]) for row in rows]
    assert all(before[1] <= after[0] for before, after in pairwise(ends))


async def test_many_workflows_at_once(rig: Rig, endpoint: Endpoint, figures: Figures) -> None:
    """Diamonds side by side, and a line to the database that is cut now and then by nobody: all complete."""
    await rig.job(endpoint.url("/ok"))
    made = await workflow(
        rig,
        {"step_ref": "a"},
        {"step_ref": "b", "depends_on": ["a"]},
        {"step_ref": "c", "depends_on": ["a"]},
        {"step_ref": "d", "depends_on": ["b", "c"]},
    )
    began = rig.parts.clock.now()
    runs = await asyncio.gather(*(trigger(rig, made) for _ in range(50)))
    assert {(await over(rig, run_id))["status"] for run_id in runs} == {"completed"}
    took = (rig.parts.clock.now() - began).total_seconds()
    figures.note("steps a second, 50 diamonds", f"{200 / took:.0f}")
    await rig.check()


async def test_a_line_that_is_cut_loses_no_step(migrated: str, endpoint: Endpoint) -> None:
    """The connection dies in the middle of transactions, again and again; every workflow run completes all the same."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        await rig.job(endpoint.url("/ok"))
        steps = [{"step_ref": f"s{n}", "depends_on": [f"s{n - 1}"] if n else []} for n in range(6)]
        made = await workflow(rig, *steps)
        runs = [await trigger(rig, made) for _ in range(10)]
        for _ in range(8):
            await asyncio.sleep(0.1)
            proxy.cut()
        assert {(await over(rig, run_id))["status"] for run_id in runs} == {"completed"}
        assert swept(rig) == 0


async def test_a_fault_of_ours_fails_the_workflow_run(rig: Rig, endpoint: Endpoint) -> None:
    """When nothing can follow from the end of a step, its job run ends all the same, and the workflow run says why."""
    await rig.job(endpoint.url("/ok"))
    await rig.job(endpoint.url("/ok"), "broken")
    made = await workflow(rig, {"step_ref": "a"}, {"step_ref": "b", "job_id": "broken", "depends_on": ["a"]})
    beside = await workflow(rig, {"step_ref": "a"}, slug="beside")
    await rig.rows("UPDATE strait.jobs SET definition = '[]' WHERE slug = 'broken'")
    run_id, other = await trigger(rig, made), await trigger(rig, beside)
    row = await over(rig, run_id)
    assert (row["status"], row["error_class"]) == ("failed", "system")
    assert (await over(rig, other))["status"] == "completed"
    steps = await workflow_runs.steps_of(rig.conn, run_id)
    assert (await rig.run(steps[0]["job_run_id"]))["status"] == "completed"


async def test_a_failure_that_cannot_be_written_in_time_is_told(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a fault of ours cannot even be stored, its waiter hears so in bounded time, and other runs end meanwhile."""
    monkeypatch.setattr(writer, "FLUSH_SECS", 0.3)
    async with running(migrated, MODE="api") as rig:
        await rig.job("http://127.0.0.1:9/")
        await rig.job("http://127.0.0.1:9/", "broken")
        steps = {"step_ref": "a"}, {"step_ref": "b", "job_id": "broken", "depends_on": ["a"]}
        broken = await trigger(rig, await workflow(rig, *steps))
        beside = await trigger(
            rig, await workflow(rig, {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]}, slug="beside")
        )
        await rig.rows("UPDATE strait.jobs SET definition = '[]' WHERE slug = 'broken'")
        ends = await endings(rig)
        async with await pool.connect(migrated) as other, other.transaction():
            # What a run that is over needs, and one that goes on does not.
            await other.execute("LOCK TABLE strait.workflow_run_history IN EXCLUSIVE MODE")
            told = rig.parts.writer.write(ends[broken])
            await asyncio.wait([told], timeout=10)
            assert told.done()
            assert isinstance(told.exception(), Exception)
            assert await asyncio.wait_for(rig.parts.writer.write(ends[beside]), 10)
        monkeypatch.undo()
        assert await rig.parts.writer.write(ends[broken])
        assert (await over(rig, broken))["error_class"] == "system"


async def test_a_batch_that_takes_too_long_is_halved(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endings of several workflow runs that do not come to an end together are tried in smaller parts; all are stored."""
    monkeypatch.setattr(writer, "FLUSH_SECS", 0.3)
    sizes: list[int] = []
    send = finish_steps

    async def noted(conn: Conn, moves: Sequence[Finish], now: datetime, verdict: Verdict, **more: bool) -> None:
        sizes.append(len(moves))
        await send(conn, moves, now, verdict, **more)

    monkeypatch.setattr(writer, "finish_steps", noted)
    async with running(migrated, MODE="api") as rig:
        await rig.job("http://127.0.0.1:9/")
        made = await workflow(rig, {"step_ref": "a"})
        held, free = await trigger(rig, made), await trigger(rig, made)
        ends = await endings(rig)
        answers: list[Any] = []
        async with await pool.connect(migrated) as other, other.transaction():
            await other.execute("SELECT FROM strait.workflow_runs WHERE id = %s FOR UPDATE", (held,))
            rig.parts.writer.post([ends[held], ends[free]], answers.append)
            await eventually(lambda: 1 in sizes)
        assert {(await over(rig, run_id))["status"] for run_id in (held, free)} == {"completed"}
        await rig.parts.writer.settle()
        assert (sizes[0], answers) == (2, [[True, True]])


async def test_a_held_workflow_run_keeps_no_other_waiting(migrated: str) -> None:
    """Neither plain runs nor those of other workflows: the ends of its steps wait for it alone, and are not lost."""
    async with running(migrated, MODE="api") as rig:
        job = await rig.job("http://127.0.0.1:9/")
        made = await workflow(rig, {"step_ref": "a"})
        held, free, another = [await trigger(rig, made) for _ in range(3)]
        (plain,) = await rig.add(job)
        ends = await endings(rig)
        answers: list[Any] = []
        async with await pool.connect(migrated) as other, other.transaction():
            await other.execute("SELECT FROM strait.workflow_runs WHERE id = %s FOR UPDATE", (held,))
            rig.parts.writer.post([ends[held], ends[free]], answers.append)
            assert await rig.parts.writer.write(ends[None])
            assert (await rig.run(plain))["status"] == "completed"
            assert (await over(rig, free, 5))["status"] == "completed"
            assert await rig.parts.writer.write(ends[another])
            assert (await over(rig, another, 5))["status"] == "completed"
            assert answers == []
        assert (await over(rig, held))["status"] == "completed"
        await rig.parts.writer.settle()
        assert answers == [[True, True]]


async def endings(rig: Rig) -> dict[UUID | None, Finish]:
    """Claim and start whatever is ready, at most one run of each workflow run; how each would end, by workflow run."""
    now = rig.parts.clock.now()
    taken = await claims.claim(rig.conn, UUID(int=1), 100, [0] * len(claims.PRIORITIES), (), now)
    await queue.start_if_held(rig.conn, [Start(run.id, run.attempt, run.lease) for run in taken.runs], now)
    return {run.workflow_run_id: ending(run, now) for run in taken.runs}


def ending(run: Claimed, now: datetime) -> Finish:
    """The end of a claimed run's first attempt."""
    return Finish(
        id=run.id,
        attempt=1,
        lease=run.lease,
        status=Status.COMPLETED,
        keep="short",
        finished_at=now,
        result="null",
        workflow_run_id=run.workflow_run_id,
        step_index=run.step_index,
    )


async def test_a_callback_of_a_held_workflow_run_keeps_no_other(
    rig: Rig, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have been accepted and their time is over: the plain run ends, and the step once it is free."""
    monkeypatch.setattr(callbacks, "PATIENCE_SECS", 0.3)
    await asyncio.gather(*(service.stop() for service in rig.parts.services if service.name == "callbacks"))
    job = await rig.job(endpoint.url("/ok"), completion="callback", timeout_secs=1, max_attempts=1)
    held = await trigger(rig, await workflow(rig, {"step_ref": "a"}))
    (plain,) = await rig.add(job)
    parts, both = rig.parts, "SELECT 1 FROM strait.callbacks HAVING count(*) = 2 AND max(deadline_at) <= %s"
    await eventually(lambda: rig.rows(both, parts.clock.now()))
    watch = callbacks.Callbacks(parts.pool, parts.ender, parts.clock, stale_after=timedelta(seconds=60), beat_secs=1)
    async with await pool.connect(parts.settings.database_url.get_secret_value()) as other, other.transaction():
        await other.execute("SELECT FROM strait.workflow_runs WHERE id = %s FOR UPDATE", (held,))
        async with asyncio.timeout(5):
            await watch.tick()
            assert (await rig.wait(plain))["status"] == Status.TIMED_OUT
            await watch.tick()
    assert (await over(rig, held))["error"] == "step a: timeout: accepted, but not completed within 1 s"
    await watch.tick()
    assert await rig.rows("SELECT 1 FROM strait.callbacks") == []
