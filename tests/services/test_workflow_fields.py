"""Every field of a workflow and of a step works: set, it changes something that somebody can see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, Final

from strait_core.run import Status
from strait_core.store import schedules
from strait_core.store.owners import Kind
from strait_core.workflow.definition import StepSpec, WorkflowSpec, settled
from strait_daemon.services import placing
from strait_daemon.services.timekeeper import Timekeeper
from tests.services.stage import Stage
from tests.services.test_ticker import ticker
from tests.store.flow import Flow

JOB: Final = {"step_ref": "a"}
PAIR: Final = (JOB, {"step_ref": "b", "depends_on": ["a"]})
ASK: Final = {"step_ref": "a", "step_type": "approval"}
EVENT: Final = {"step_ref": "a", "step_type": "wait_for_event", "event_key": "k"}
NAP: Final = {"step_ref": "a", "step_type": "sleep", "sleep_duration": "10s"}
SUB: Final = {"step_ref": "a", "step_type": "sub_workflow", "sub_workflow": "inner"}
NEVER: Final = {"type": "exists", "operand": "{{payload.nothing}}"}
FAILS: Final = {"a": Status.DEAD_LETTER}

# By field: the steps without it, the steps with it, and what their runs come to.
STEPS: Final[Mapping[str, tuple[Any, Any, Mapping[str, Status]]]] = {
    "step_ref": ([JOB], [{"step_ref": "other"}], {}),
    "step_type": ([JOB], [ASK], {}),
    "job_id": ([JOB], [{**JOB, "job_id": "other"}], {}),
    "depends_on": ([JOB, {"step_ref": "b"}], PAIR, {}),
    "condition": ([JOB], [{**JOB, "condition": NEVER}], {}),
    "payload": ([JOB], [{**JOB, "payload": {"n": 1}}], {}),
    "on_failure": (PAIR, [{**JOB, "on_failure": "continue"}, PAIR[1]], FAILS),
    "retry_max_attempts": ([JOB], [{**JOB, "retry_max_attempts": 7}], {}),
    "retry_backoff": ([JOB], [{**JOB, "retry_backoff": "linear"}], {}),
    "retry_initial_delay_secs": ([JOB], [{**JOB, "retry_initial_delay_secs": 9}], {}),
    "retry_max_delay_secs": ([JOB], [{**JOB, "retry_max_delay_secs": 90}], {}),
    "timeout_secs": ([JOB], [{**JOB, "timeout_secs": 33}], {}),
    "output_transform": ([JOB], [{**JOB, "output_transform": "$.from"}], {}),
    "concurrency_key": (
        [JOB, {"step_ref": "b", "concurrency_key": "k"}],
        [{**JOB, "concurrency_key": "k"}, {"step_ref": "b", "concurrency_key": "k"}],
        {},
    ),
    "approvers": ([ASK], [{**ASK, "approvers": ["ada"]}], {}),
    "approval_timeout_secs": ([ASK], [{**ASK, "approval_timeout_secs": 60}], {}),
    "event_key": ([EVENT], [{**EVENT, "event_key": "other"}], {}),
    "event_timeout_secs": ([EVENT], [{**EVENT, "event_timeout_secs": 60}], {}),
    "sleep_duration": ([NAP], [{**NAP, "sleep_duration": "20s"}], {}),
    "sleep_until": (
        [{"step_ref": "a", "step_type": "sleep", "sleep_until": "2030-01-16T12:00:30Z"}],
        [{"step_ref": "a", "step_type": "sleep", "sleep_until": "2030-01-16T12:00:40Z"}],
        {},
    ),
    "sub_workflow": ([SUB], [{**SUB, "sub_workflow": "inner-2"}], {}),
    "event_emit_key": ([JOB], [{**JOB, "event_emit_key": "done"}], {}),
    "compensation_job": (
        [JOB, {**PAIR[1], "on_failure": "compensate"}],
        [{**JOB, "compensation_job": "other"}, {**PAIR[1], "on_failure": "compensate"}],
        {"b": Status.DEAD_LETTER},
    ),
}
CRON: Final = {"cron": "30 2 * * *", "cron_timezone": "Europe/Berlin"}
HOURLY: Final = {"cron": "0 * * * *"}
# By field: its value; and for those of schedules the settings without it.
RUNS: Final[Mapping[str, Any]] = {
    "timeout_secs": 60,
    "max_concurrent_runs": 1,
    "max_parallel_steps": 1,
    "tags": {"team": "x"},
}
TICKS: Final[Mapping[str, tuple[Mapping[str, Any], Any]]] = {
    "cron": (HOURLY, "30 * * * *"),
    "cron_timezone": ({"cron": "0 9 * * *"}, "Asia/Tokyo"),
    "skip_if_running": (HOURLY, True),
    "misfire_policy": (HOURLY, "all"),
    "misfire_max_lateness_secs": ({**HOURLY, "misfire_policy": "all"}, 7_200),
    "misfire_max_runs": ({**HOURLY, "misfire_policy": "all"}, 2),
    "overlap_policy": (HOURLY, "cancel_running"),
    "jitter_secs": (HOURLY, 1_800),
    "dst_gap": (CRON, "skip"),
    "dst_overlap": (CRON, "second"),
    "calendar": (HOURLY, "off"),
    "calendar_mode": ({**HOURLY, "calendar": "off"}, "only"),
    "calendar_roll": ({"cron": "0 9 * * 4", "calendar": "off"}, "next"),
    "start_within_secs": (HOURLY, 60),
    "finish_within_secs": (HOURLY, 60),
    "expect_every_secs": (HOURLY, 3_600),
    "alert_webhook_url": ({**HOURLY, "start_within_secs": 60}, "http://127.0.0.1:9/"),
}
# What a reader is shown, and nothing else depends on.
SHOWN: Final = {"name", "description"}
# Where it is, and what it is made of.
BASIS: Final = {"project_id", "slug", "steps"}


def test_every_field_is_in_a_table() -> None:
    """A new field needs a line that shows what it does."""
    assert set(STEPS) == {field.name for field in fields(StepSpec)}
    assert {*RUNS, *TICKS} | SHOWN | BASIS == {field.name for field in fields(WorkflowSpec)}


async def test_each_field_of_a_step_changes_something(stage: Stage) -> None:
    """Two workflows that differ in it alone leave different rows behind."""
    same, known = [], dict[str, Any]()
    for name, (without, given, outcomes) in STEPS.items():
        key = repr((without, outcomes))
        known[key] = known.get(key) or await ran(stage, without, outcomes, {})
        if known[key] == await ran(stage, given, outcomes, {}):
            same.append(name)
    assert same == []
    assert await ran(stage, [JOB], {}, {}) == known[repr(([JOB], {}))]


async def test_each_field_of_a_workflow_changes_something(stage: Stage) -> None:
    """Of its runs, or of what its schedule comes to."""
    steps = [JOB, {"step_ref": "b"}]
    plain = await ran(stage, steps, {}, {})
    same = [name for name, value in RUNS.items() if await ran(stage, steps, {}, {name: value}) == plain]
    known: dict[str, Any] = {}
    for name, (base, value) in TICKS.items():
        key = repr(base)
        known[key] = known.get(key) or await ticked(stage, base)
        if known[key] == await ticked(stage, {**base, name: value}):
            same.append(name)
    assert same == []
    assert await ticked(stage, HOURLY) == known[repr(HOURLY)]


async def ran(stage: Stage, steps: Any, outcomes: Mapping[str, Status], settings: Mapping[str, Any]) -> list[Any]:
    """What a run of such a workflow leaves behind, at once and after a day."""
    flow = await begun(stage)
    run_id = await flow.trigger(await flow.workflow(*steps, **settings))
    seen = [await rows(stage)]
    await flow.go(run_id, outcomes)
    seen.append(await rows(stage))
    stage.later(days=1)
    await flow.fire()
    return [*seen, await rows(stage)]


async def ticked(stage: Stage, settings: Mapping[str, Any]) -> list[Any]:
    """What the schedule of such a workflow comes to: its next year of fires, ticks after an outage, deadlines."""
    flow = await begun(stage)
    await stage.scene.rows(
        "INSERT INTO strait.calendars (id, project_id, slug, definition, created_at, updated_at)"
        " VALUES (%s, 'p', 'off', %s, %s, %s)",
        *(stage.scene.new_id(), '{"dates":["2030-01-17"]}', stage.clock.now(), stage.clock.now()),
    )
    given = {name: settled(name, value) for name, value in settings.items()}
    made = await flow.workflow({"step_ref": "a"}, **typed(given))
    conn, begins = stage.scene.conn, stage.clock.now()
    async with conn.transaction():
        await placing.place(conn, made, begins, stage.scene.new_id)
    found = await schedules.of_owner(conn, made.id)
    assert found is not None
    seen: list[Any] = [[(at - begins, runs - begins) for at, runs in placing.upcoming(found, 320)]]
    clock, keeper = ticker(stage, kind=Kind.WORKFLOW), Timekeeper(stage.pool, stage.clock, kept_days=90)
    # Five hours without a daemon; then an hour and another on time.
    for minutes in (330, 30, 60):
        stage.later(minutes=minutes)
        await clock.tick()
    stage.later(seconds=90)
    await keeper.tick()
    fires = await stage.scene.rows("SELECT fire_at, skipped, ticks, triggered_by FROM strait.schedule_fires ORDER BY 1")
    states = await stage.scene.rows("SELECT status FROM strait.all_workflow_runs ORDER BY id")
    late = await stage.scene.rows("SELECT deadline, limit_at FROM strait.breaches ORDER BY 1, 2")
    watched = await stage.scene.rows("SELECT deadline, since FROM strait.deadlines ORDER BY 1, 2")
    told = await stage.scene.rows("SELECT type, status FROM strait.webhook_deliveries")
    for row in [*fires, *late, *watched]:
        for name, value in row.items():
            if hasattr(value, "tzinfo"):
                row[name] = value - begins
    return [*seen, fires, states, late, watched, told]


def typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a definition has them, their words as what they mean."""
    hints = WorkflowSpec.__annotations__
    kinds = {
        name: getattr(__import__("strait_core.workflow.definition", fromlist=[kind]), kind)
        for name, kind in hints.items()
        if kind in {"MisfirePolicy", "OverlapPolicy", "DstGap", "DstOverlap", "CalendarMode", "Roll"}
    }
    return {name: kinds[name](value) if name in kinds else value for name, value in given.items()}


async def begun(stage: Stage) -> Flow:
    """An empty scene at the same instant, with two jobs and two workflows to name."""
    await stage.scene.clear()
    for table in ("calendars", "webhook_deliveries"):
        await stage.scene.rows(f"DELETE FROM strait.{table}")
    stage.clock.at = stage.scene.now = stage.clock.at.replace(year=2030, month=1, day=16, hour=12, minute=0, second=0)
    for slug in ("a", "other"):
        await stage.scene.job(slug=slug)
    flow = Flow(stage.scene)
    for slug in ("inner", "inner-2"):
        await flow.workflow({"step_ref": slug, "step_type": "sleep", "sleep_duration": "1s"}, slug=slug)
    return flow


_SEEN: Final = (
    """SELECT j.slug, r.step_ref, r.status, r.payload, r.max_attempts, r.timeout_secs, r.retry_strategy, r.triggered_by
    FROM strait.all_runs r JOIN strait.jobs j ON j.id = r.job_id ORDER BY r.id""",
    "SELECT retry_initial_secs, retry_max_secs FROM strait.runs ORDER BY id",
    """SELECT w.slug, r.status, r.tags, r.has_failures, r.error_class, r.expires_at - r.created_at AS lasts
    FROM strait.all_workflow_runs r JOIN strait.workflows w ON w.id = r.workflow_id ORDER BY r.id""",
    "SELECT step, status, reason, output, error_class, due_at FROM strait.workflow_steps ORDER BY workflow_run_id, step",
    "SELECT step, status, reason, output, error_class FROM strait.workflow_step_history ORDER BY workflow_run_id, step",
    "SELECT step_ref, status, approvers, expires_at FROM strait.approvals ORDER BY id",
    "SELECT key, status, payload FROM strait.events ORDER BY id",
)


async def rows(stage: Stage) -> list[Any]:
    """Everything that somebody can see, without ids and without times of day."""
    found = [await stage.scene.rows(statement) for statement in _SEEN]
    return [[{name: without_ids(value) for name, value in row.items()} for row in table] for table in found]


def without_ids(value: Any) -> Any:
    """A value that does not depend on which test came first."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value
