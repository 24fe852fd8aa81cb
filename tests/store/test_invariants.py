"""The invariants hold for every legal history, and each one notices when it is broken by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from strait_core import ids
from strait_core.ids import Prefix
from strait_core.run import Status
from strait_core.store import backfills, invariants, jobs, queue, schedules, workers, workflow_runs
from strait_core.store.invariants import PATH_BROKEN, STATEMENTS, Violation
from strait_core.store.owners import Kind
from strait_core.store.schedules import Fire
from strait_core.store.workers import WorkerRow
from tests.store.flow import Flow
from tests.store.scene import Scene
from tests.store.story import Story
from tests.store.waiting import waiting


async def told(scene: Scene) -> None:
    """One run in each state that a run can be in, some after several attempts."""
    job = await scene.job()
    await waiting(scene, job)
    for status in (Status.COMPLETED, Status.DEAD_LETTER):
        assert await scene.finish(await scene.executing(job), status)
    assert await scene.retry(await scene.executing(job), timedelta(minutes=5))
    await scene.executing(job)
    await scene.add(job)
    await scene.claim()
    await scene.add(job)
    await scene.add(job, scheduled_at=scene.now + timedelta(minutes=5))


async def fired(scene: Scene) -> None:
    """A schedule of which one tick has made a run."""
    job = await scene.job(slug="fired", cron="* * * * *")
    run = replace(scene.new_run(job), fire_at=scene.now)
    assert await queue.insert_runs(scene.conn, [run], scene.now) == {run.id}
    upcoming = scene.now + timedelta(minutes=1)
    made = await schedules.put(
        scene.conn, scene.new_id(), Kind.JOB, job.id, upcoming, upcoming, scene.now, calendar_id=None
    )
    fire = Fire(schedule_id=made, fire_at=scene.now, triggered_by="cron", run_id=run.id, first_fire_at=scene.now)
    await schedules.note_fires(scene.conn, [fire], scene.now)


async def flowing(scene: Scene) -> None:
    """A workflow run that has ended, and one in which a job runs and a question is open."""
    flow = Flow(scene)
    await scene.job(slug="of-steps")
    step = {"step_ref": "s", "job_id": "of-steps"}
    run_id = await flow.trigger(await flow.workflow(step, slug="over"))
    await flow.move(workflow_runs.cancel, run_id)
    await flow.trigger(await flow.workflow(step, {"step_ref": "q", "step_type": "approval"}))


async def fired_again(scene: Scene) -> None:
    """A backfill of one tick, which has made its run."""
    (schedule,) = await scene.rows("SELECT id, target_id FROM strait.schedules")
    job = await jobs.job_by_id(scene.conn, schedule["target_id"])
    assert job is not None
    tick = scene.now - timedelta(hours=1)
    made = await backfills.insert(
        scene.conn, scene.new_id(), schedule["id"], (tick, scene.now), [tick], scene.now, max_concurrency=1
    )
    run = replace(scene.new_run(job), fire_at=tick)
    assert await queue.insert_runs(scene.conn, [run], scene.now) == {run.id}
    await backfills.note_made(scene.conn, made, {tick: run.id}, scene.now)
    await backfills.advance(scene.conn, made.id, made=1, completed=0, unsuccessful=0, due_at=scene.now, ended_at=None)


@pytest.mark.parametrize("seed", range(3))
async def test_every_legal_history_keeps_them(scene: Scene, seed: int):
    """Some hundred random steps, looked at on the way and at the end."""
    made = [await scene.job(slug=slug) for slug in ("a", "b", "c")]
    story = Story(scene, made, seed)
    for _ in range(5):
        await story.tell(60)
        assert await scene.broken() == []
    statuses = {row["status"] for row in await scene.rows("SELECT DISTINCT status FROM strait.all_runs")}
    assert len(statuses) >= 8
    await scene.folded()
    assert await scene.broken() == []


async def test_an_empty_database_keeps_them(scene: Scene):
    """Nothing stored, nothing wrong."""
    assert await scene.broken() == []


A_QUEUED_RUN = "(SELECT run_id FROM strait.ready LIMIT 1)"
A_KEY = "INSERT INTO strait.idempotency_keys (project_id, route, key, body_hash, run_ids, look_at) SELECT 'p',"
BREAKS: dict[str, list[str]] = {
    "workflow_run_in_two_places": [
        "UPDATE strait.workflow_run_history SET id = (SELECT id FROM strait.workflow_runs LIMIT 1)",
    ],
    "workflow_run_stalled": ["UPDATE strait.workflow_steps SET status = 'pending', due_at = NULL"],
    "workflow_step_without_run": [
        "UPDATE strait.workflow_steps SET job_run_id = NULL",
        "UPDATE strait.runs SET step_index = 9 WHERE workflow_run_id IS NOT NULL",
        "UPDATE strait.workflow_steps SET status = 'completed' WHERE status = 'running'",
    ],
    "workflow_step_alone": [
        "UPDATE strait.workflow_steps SET workflow_run_id = gen_random_uuid() WHERE status = 'waiting'",
        "UPDATE strait.workflow_runs SET root_id = gen_random_uuid(), parent_run_id = id, parent_step = 0",
    ],
    "approval_of_nobody": ["UPDATE strait.workflow_steps SET status = 'completed' WHERE status = 'waiting'"],
    "run_in_two_places": [
        "UPDATE strait.run_history SET id = (SELECT id FROM strait.runs LIMIT 1) WHERE status = 'completed'",
    ],
    "run_without_job": ["UPDATE strait.runs SET job_version = 99 WHERE status = 'queued'"],
    "queued_run_misplaced": [
        "DELETE FROM strait.ready",
        f"INSERT INTO strait.ready SELECT lane, 1, ready_seq, run_id, job_id, ready_at FROM strait.ready WHERE run_id = {A_QUEUED_RUN}",
        f"INSERT INTO strait.due SELECT {A_QUEUED_RUN}, '2030-01-16Z', false",
        "DELETE FROM strait.due WHERE NOT moves",
    ],
    "delayed_run_without_due_time": ["DELETE FROM strait.due WHERE moves", "UPDATE strait.due SET moves = false"],
    "ready_entry_wrong": [
        "UPDATE strait.ready SET lane = 99",
        "UPDATE strait.ready SET priority = 9",
        "UPDATE strait.ready SET ready_seq = 1",
        "UPDATE strait.ready SET ready_at = ready_at - interval '1s'",
        "UPDATE strait.ready SET job_id = run_id",
        "UPDATE strait.ready SET run_id = (SELECT id FROM strait.runs WHERE status = 'executing')",
        "UPDATE strait.ready SET run_id = (SELECT id FROM strait.run_history LIMIT 1)",
        "UPDATE strait.ready SET run_id = gen_random_uuid()",
    ],
    "due_entry_wrong": [
        "UPDATE strait.due SET moves = NOT moves",
        "UPDATE strait.due SET due_at = due_at + interval '1s'",
        "UPDATE strait.due SET run_id = gen_random_uuid() WHERE moves",
    ],
    "live_run_without_owner": [
        "UPDATE strait.runs SET lease = NULL WHERE status = 'dequeued'",
        "UPDATE strait.runs SET worker_id = NULL WHERE status = 'executing'",
        "UPDATE strait.runs SET claimed_at = NULL WHERE status = 'dequeued'",
        "UPDATE strait.runs SET started_at = NULL WHERE status = 'executing'",
        "UPDATE strait.runs SET attempt = 0 WHERE status = 'executing'",
    ],
    "idle_run_with_owner": [
        "UPDATE strait.runs SET lease = 1 WHERE status = 'queued'",
        "UPDATE strait.runs SET worker_id = id WHERE status = 'delayed'",
    ],
    "lease_held_twice": ["UPDATE strait.runs SET lease = 1 WHERE status IN ('dequeued', 'executing')"],
    "waiting_run_without_reason": [
        "UPDATE strait.runs SET status = 'waiting' WHERE status = 'executing'",
        "UPDATE strait.waits SET outcome = 'received', settled_at = '2030-01-16Z'",
    ],
    "wait_without_run": [
        "UPDATE strait.waits SET run_id = gen_random_uuid()",
        "UPDATE strait.runs SET waits = NULL WHERE status = 'waiting'",
        "UPDATE strait.runs SET waits = true WHERE status = 'executing'",
        "UPDATE strait.runs SET status = 'queued' WHERE status = 'waiting'",
    ],
    "wait_for_nothing": [
        "UPDATE strait.events SET status = 'canceled', retired = true",
        "UPDATE strait.waits SET event_id = NULL, due_at = NULL, child_id = run_id",
        "DELETE FROM strait.events",
    ],
    "wait_overdue": ["UPDATE strait.waits SET due_at = '2030-01-01Z'"],
    "breaker_without_bound": [
        f"INSERT INTO strait.breakers VALUES (gen_random_uuid(), {values}, 0, '2030-01-16Z')"
        for values in (
            "'closed', 1, '2030-01-16Z', NULL, 1",
            "'probing', 1, '2030-01-16Z', NULL, NULL",
            "'open', 1, '2030-01-16Z', NULL, 0",
            "'open', 1, '2030-01-16Z', '2030-01-16Z', 1",
        )
    ],
    "key_of_run_missing": ["UPDATE strait.runs SET idempotency_key = 'k' WHERE status = 'queued'"],
    "key_without_run": [f"{A_KEY} 'trigger', 'k', 'h', ARRAY[gen_random_uuid()], '2031-01-01Z'"],
    "key_without_answer": [f"{A_KEY} 'createJob', 'k', 'h', NULL, '2031-01-01Z'"],
    "window_of_other_job": [
        "INSERT INTO strait.trigger_windows SELECT id, 'dedup', '', id, created_at, created_at, 1, 0 FROM strait.runs"
    ],
    "attempts_over_allowance": [
        "UPDATE strait.runs SET attempt = 4 WHERE status = 'executing'",
        "UPDATE strait.runs SET max_attempts = 0 WHERE status = 'dequeued'",
        "UPDATE strait.runs SET attempt_base = 9 WHERE status = 'queued'",
        "UPDATE strait.run_history SET attempt = 4 WHERE status = 'completed'",
    ],
    "attempt_twice": [
        "INSERT INTO strait.attempts SELECT * FROM strait.attempts",
        "UPDATE strait.attempts SET run_id = (SELECT id FROM strait.runs WHERE status = 'executing') WHERE outcome = 'error'",
    ],
    "time_ahead": [
        "UPDATE strait.runs SET claimed_at = '2031-01-01Z' WHERE status = 'dequeued'",
        "UPDATE strait.run_history SET created_at = '2031-01-01Z'",
    ],
    "tick_decided_twice": [
        (
            "INSERT INTO strait.schedule_fires SELECT schedule_id, fire_at, decided_at, triggered_by, NULL, 'overlap', 1,"
            " first_fire_at, 'short' FROM strait.schedule_fires"
        ),
        (
            "INSERT INTO strait.schedule_fires SELECT run_id, fire_at, decided_at, triggered_by, run_id, NULL, 1,"
            " first_fire_at, 'long' FROM strait.schedule_fires"
        ),
    ],
    "tick_without_record": [
        "DELETE FROM strait.schedule_fires",
        "UPDATE strait.runs SET fire_at = '2030-01-16Z' WHERE status = 'queued'",
    ],
    "backfill_over_bound": [
        "UPDATE strait.backfills SET max_concurrency = 0",
        "UPDATE strait.backfills SET made = 2",
        "UPDATE strait.backfills SET completed = 1",
    ],
    "schedule_silent": [
        "UPDATE strait.schedules SET due_at = NULL",
        "UPDATE strait.schedules SET paused = true",
        "UPDATE strait.jobs SET deleted_at = '2030-01-16Z' WHERE id = (SELECT target_id FROM strait.schedules)",
    ],
    "depth_differs": [
        "DELETE FROM strait.stats_deltas WHERE id = (SELECT max(id) FROM strait.stats_deltas)",
        "INSERT INTO strait.stats_depth VALUES ('p', 'queued', 1)",
        "DELETE FROM strait.run_history WHERE status = 'completed'",
    ],
    "job_load_differs": [
        "DELETE FROM strait.stats_deltas WHERE id = (SELECT max(id) FROM strait.stats_deltas)",
        "INSERT INTO strait.stats_jobs SELECT id, 'p', 1, -1 FROM strait.jobs",
    ],
    "feed_differs": [
        "UPDATE strait.runs SET seq = seq + 1 WHERE status = 'executing'",
        "UPDATE strait.workflow_runs SET status = 'paused'",
        "DELETE FROM strait.stats_deltas WHERE statuses = '{executing}'",
        (
            "INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)"
            " SELECT at, '[]', ids, owners, seqs, attempts, statuses FROM strait.stats_deltas WHERE statuses = '{dequeued}'"
        ),
    ],
    PATH_BROKEN: [
        "UPDATE strait.runs SET seq = seq + 1 WHERE status = 'queued'",
        "UPDATE strait.run_history SET seq = seq - 1 WHERE status = 'completed'",
        "UPDATE strait.run_history SET status = 'failed' WHERE status = 'completed'",
        "UPDATE strait.attempts SET outcome = 'failed' WHERE outcome = 'completed'",
        "UPDATE strait.attempts SET outcome = 'crashed' WHERE outcome = 'error'",
        "DELETE FROM strait.attempts WHERE outcome = 'error'",
        "UPDATE strait.attempts SET number = 2 WHERE outcome = 'completed'",
        "UPDATE strait.attempts SET seq = 5 WHERE outcome = 'completed'",
        "UPDATE strait.runs SET scheduled_at = NULL WHERE status = 'delayed'",
        "UPDATE strait.runs SET status = 'queued' WHERE status = 'dequeued'",
        "INSERT INTO strait.run_events SELECT id, 2, 'leap', 'queued', 0, created_at, NULL, 'long' FROM strait.runs",
        "INSERT INTO strait.run_events SELECT id, 2, 'cancel', 'asleep', 0, created_at, NULL, 'long' FROM strait.runs",
        "INSERT INTO strait.run_events SELECT id, 9, 'cancel', 'canceled', 0, created_at, NULL, 'long' FROM strait.runs",
    ],
}


@pytest.mark.parametrize(("name", "statement"), [(name, text) for name, texts in BREAKS.items() for text in texts])
async def test_a_broken_one_is_reported(scene: Scene, name: str, statement: str):
    """The report names the invariant and an example, for each way to break it."""
    await told(scene)
    if name.startswith(("tick_", "schedule_", "backfill_")):
        await fired(scene)
    if name.startswith(("workflow_", "approval_", "feed_")):
        await flowing(scene)
    if name.startswith("backfill_"):
        await fired_again(scene)
    assert await scene.broken() == []
    await scene.rows(statement)
    found = {violation.invariant: violation for violation in await scene.broken()}
    assert name in found
    assert found[name].count >= 1
    assert found[name].examples


async def test_a_run_that_ended_twice_is_reported(scene: Scene):
    """The key of the history spans its partitions, so only a check can tell."""
    await told(scene)
    columns = await scene.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'strait.run_history'::regclass AND attnum > 0 ORDER BY attnum"
    )
    again = ", ".join("'long'" if row["attname"] == "keep" else row["attname"] for row in columns)
    await scene.rows(
        f"INSERT INTO strait.run_history SELECT {again} FROM strait.run_history WHERE status = 'completed'"
    )
    assert "run_in_two_places" in {violation.invariant for violation in await scene.broken()}


async def test_a_state_off_the_table_is_reported(own_scene: Scene):
    """Even if the constraints were gone."""
    await told(own_scene)
    for table in ("runs", "run_history"):
        await own_scene.rows(f"ALTER TABLE strait.{table} DROP CONSTRAINT {table}_status_check")
    await own_scene.rows("UPDATE strait.runs SET status = 'completed' WHERE status = 'queued'")
    await own_scene.rows("UPDATE strait.run_history SET status = 'queued' WHERE status = 'completed'")
    found = {violation.invariant: violation.count for violation in await own_scene.broken()}
    assert found["status_unknown"] == 3


async def test_a_gate_that_is_closed_for_no_reason_is_reported(own_scene: Scene):
    """Claim and explain read one view: what is closed there has to say why."""
    await told(own_scene)
    await own_scene.rows(
        "CREATE OR REPLACE FUNCTION strait.job_gates(at timestamptz) RETURNS TABLE (job_id uuid, project_id text,"
        " lane bigint, own_lane bigint, is_limited boolean, is_open boolean, reason text, until_at timestamptz,"
        " allowance integer, breaker uuid) LANGUAGE sql STABLE AS"
        " $$SELECT id, project_id, lane, own_lane, false, false, NULL::text, at, 0, id FROM strait.jobs$$"
    )
    (violation,) = await own_scene.broken()
    (job,) = await own_scene.rows("SELECT id FROM strait.jobs")
    assert violation == Violation("gate_closed_without_reason", 1, (f"job {job['id']}",))


async def test_what_a_dead_worker_holds_is_reported(scene: Scene):
    """Alive by its heartbeat; without a row, by the time of the claim."""
    held = await scene.executing(await scene.job())
    report = WorkerRow(scene.worker, "h", 1, "all", "1", 10, 1, False, scene.now, scene.now)
    example = (ids.spell(Prefix.RUN, held.id),)
    at = scene.now + timedelta(minutes=1)
    assert await scene.broken(dead_before=scene.now) == []
    assert await scene.broken(dead_before=at) == [Violation("lease_of_dead_worker", 1, example)]
    await workers.heartbeat(scene.conn, WorkerRow(**{**_facts(report), "heartbeat_at": at}))
    assert await scene.broken(dead_before=at) == []
    assert await scene.broken(dead_before=at + timedelta(seconds=1)) == [Violation("lease_of_dead_worker", 1, example)]


def _facts(row: WorkerRow) -> dict:
    return {name: getattr(row, name) for name in row.__slots__}


def test_every_invariant_has_its_break():
    """An invariant that nobody can see fail is none."""
    elsewhere = {"status_unknown", "gate_closed_without_reason", "lease_of_dead_worker"}
    # Broken in test_limits.py, test_keys.py and test_limit_invariants.py.
    limits = {"slot_missing", "slot_wrong", "cap_exceeded", "parked_run_wrong", "key_cap_exceeded", "rate_exceeded"}
    limits |= {"callback_overdue"}
    limits |= {"parked_for_ever", "bucket_overdrawn"}  # broken in test_rates.py
    assert set(BREAKS) | elsewhere | limits == {
        *STATEMENTS,
        PATH_BROKEN,
    }


async def test_the_report_is_bounded(scene: Scene):
    """However much is wrong, ten examples and a count."""
    await scene.add(await scene.job(), 25)
    await scene.rows("UPDATE strait.runs SET seq = 9, lease = 1")
    found = {violation.invariant: violation for violation in await scene.broken()}
    assert {name: (v.count, len(v.examples)) for name, v in found.items()} == {
        "idle_run_with_owner": (25, 10),
        "lease_held_twice": (25, 10),
        "feed_differs": (25, 10),
        PATH_BROKEN: (25, 10),
    }


async def test_paths_are_replayed_page_by_page(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """More runs than a page holds, and no more than asked for."""
    monkeypatch.setattr(invariants, "_PAGE", 7)
    await scene.add(await scene.job(), 20)
    await scene.rows("UPDATE strait.runs SET seq = 9")

    async def broken(most: int) -> int:
        found = await invariants.violations(scene.conn, scene.now, dead_before=scene.now, most_paths=most)
        return {violation.invariant: violation.count for violation in found}.get(PATH_BROKEN, 0)

    assert [await broken(most) for most in (0, 5, 7, 20, 1_000)] == [0, 5, 7, 20, 20]


async def test_what_retention_took_is_not_missed(own_scene: Scene):
    """A run older than the oldest partition of attempts or events has no whole path any more."""
    live = await own_scene.executing(await own_scene.job())
    assert await own_scene.retry(live, timedelta(minutes=1))
    for parent in ("attempts_long", "attempts_short"):
        for week in ("20300107", "20300114"):
            await own_scene.rows(f"DROP TABLE strait.{parent}_{week}")
    assert await own_scene.broken() == []
