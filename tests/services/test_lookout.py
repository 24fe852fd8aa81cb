"""One look for all: each service is woken while it has something to do, and only then."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from strait_core.store import lookout
from strait_daemon.services.lookout import AHEAD, INTERVAL_SECS, Lookout
from strait_daemon.services.service import REST_SECS
from tests.services.stage import Stage
from tests.support.rig import running

_ID: Final = "'00000000-0000-7000-8000-000000000001'"
_WAIT: Final = f"""INSERT INTO strait.waits (id, run_id, attempt, event_id, created_at, due_at, outcome, settled_at, ripe)
    VALUES ({_ID}, {_ID}, 1, {_ID}, %(early)s, """
_FLOW: Final = f"""INSERT INTO strait.workflow_runs (id, root_id, workflow_id, project_id, version, status, seq, payload,
        tags, labels, disabled, has_failures, triggered_by, depth, created_at, touched_at, expires_at)
    SELECT {_ID}, {_ID}, {_ID}, 'p', 1, '%s', 1, '{{}}', '{{}}', '{{}}', '{{}}', false, 'manual', 0, %%(early)s, %%(early)s, """
# By service, what gives it something to do at `at`.
WORK: Final = [
    ("stager", f"INSERT INTO strait.due (run_id, due_at, moves) VALUES ({_ID}, %(at)s, true)"),
    ("stager", f"INSERT INTO strait.due (run_id, due_at, moves) VALUES ({_ID}, %(at)s, false)"),
    (
        "ticker",
        (
            "INSERT INTO strait.schedules (id, kind, target_id, due_at, paused, created_at, updated_at)"
            f" SELECT {_ID}, 'job', id, %(at)s, false, %(early)s, %(early)s FROM strait.jobs"
        ),
    ),
    (
        "flow_ticker",
        (
            "INSERT INTO strait.schedules (id, kind, target_id, due_at, paused, created_at, updated_at)"
            f" VALUES ({_ID}, 'workflow', {_ID}, %(at)s, false, %(early)s, %(early)s)"
        ),
    ),
    (
        "timekeeper",
        (
            "INSERT INTO strait.deadlines (schedule_id, deadline, since, due_at)"
            f" VALUES ({_ID}, 'start_within_secs', %(early)s, %(at)s)"
        ),
    ),
    (
        "refiller",
        (
            "INSERT INTO strait.rate_buckets (lane, name, key, zero_at, wake_at, idle_at)"
            " VALUES (1, 'n', 'k', %(early)s, %(at)s, %(at)s)"
        ),
    ),
    ("opener", "UPDATE strait.jobs SET window_due_at = %(at)s"),
    (
        "callbacks",
        f"INSERT INTO strait.callbacks (run_id, attempt, lease, deadline_at) VALUES ({_ID}, 1, 1, %(at)s)",
    ),
    (
        "outbox",
        (
            "INSERT INTO strait.webhook_deliveries (id, project_id, job_id, type, status, attempts, created_at, due_at)"
            f" SELECT {_ID}, 'p', id, 'webhook.test', 'pending', 0, %(early)s, %(at)s FROM strait.jobs"
        ),
    ),
    ("waker", _WAIT + "%(at)s, NULL, NULL, false)"),
    (
        "timers",
        (
            "INSERT INTO strait.workflow_steps (workflow_run_id, step, status, attempt, due_at)"
            f" VALUES ({_ID}, 0, 'waiting', 0, %(at)s)"
        ),
    ),
    ("timers", _FLOW % "running" + "%(at)s"),
]
# What has to be done whenever it is there.
ALWAYS: Final = [
    ("accountant", "INSERT INTO strait.stats_deltas (at, moves) VALUES (%(early)s, '[]')"),
    ("waker", _WAIT + "%(early)s, 'received', %(early)s, true)"),
    ("timers", _FLOW % "pending" + "NULL"),
    (
        "unparker",
        (
            "INSERT INTO strait.parked (run_id, lane, job_id, key, priority, ready_seq, ready_at)"
            f" SELECT {_ID}, own_lane, id, 'k', 0, 1, %(early)s FROM strait.jobs"
        ),
    ),
    (
        "breakers",
        (
            "INSERT INTO strait.breakers (key, state, failures, changed_at, step, looked_at)"
            f" VALUES ({_ID}, 'closed', 1, %(early)s, 0, %(early)s)"
        ),
    ),
]


async def woken(stage: Stage) -> list[str]:
    """Who is woken by one look."""
    names: list[str] = []
    await Lookout(stage.pool, stage.clock, names.append).tick()
    return names


@pytest.mark.parametrize(("name", "work"), WORK, ids=lambda value: value if " " not in value else "")
async def test_who_has_something_to_do_before_the_next_look_is_woken(stage: Stage, name: str, work: str) -> None:
    """Not yet while there is time for another look; then at every look until it is done."""
    await stage.scene.job()
    await stage.scene.folded()
    now = stage.clock.now()
    at = now + AHEAD + timedelta(seconds=1)
    await stage.scene.conn.execute(work.encode(), {"at": at, "early": now})
    assert await woken(stage) == []
    stage.later(seconds=INTERVAL_SECS)
    assert await woken(stage) == [name]
    stage.later(hours=1)
    assert await woken(stage) == [name]


@pytest.mark.parametrize(("name", "work"), ALWAYS, ids=lambda value: value if " " not in value else "")
async def test_who_has_something_to_do_at_any_time_is_woken(stage: Stage, name: str, work: str) -> None:
    """Whenever it was written."""
    await stage.scene.job()
    await stage.scene.folded()
    assert await woken(stage) == []
    await stage.scene.conn.execute(work.encode(), {"early": stage.clock.now()})
    assert await woken(stage) == [name]


async def test_who_is_looked_after_rests_and_is_there(migrated: str) -> None:
    """Each name that the look gives is that of a running service, which would look by itself after a longer while."""
    async with running(migrated) as rig:
        names = {service.name for service in rig.parts.services}
        cursor = await rig.conn.execute(lookout._SQL["look"], {"until": rig.parts.clock.now()})
        assert cursor.description is not None
        looked_after = {column.name for column in cursor.description}
        assert looked_after <= names
        assert {name for name, _ in (*WORK, *ALWAYS)} == looked_after
    assert REST_SECS > INTERVAL_SECS
