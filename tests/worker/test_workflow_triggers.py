"""Workflows that the endings of runs start: with their payload, at most so many in a row, never instead of the ending."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from strait_core import ids
from strait_core.budget import Budget
from strait_core.completion import MAX_CHAIN
from strait_core.run import Status
from strait_core.store import budgets, workflows
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, running
from tests.worker.test_workflows import over, workflow

NAP = {"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1ms"}


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """A rig on the test's own database."""
    async with running(migrated) as made:
        yield made


async def flows(rig: Rig) -> list[dict[str, Any]]:
    """Every workflow run, the oldest first."""
    return await rig.rows("SELECT * FROM strait.all_workflow_runs ORDER BY id")


async def test_a_completed_run_starts_a_workflow(rig: Rig, endpoint: Endpoint) -> None:
    """Beside the job that it starts, both with the mapped payload; the workflow's job runs go on counting."""
    await rig.job(endpoint.url("/echo"), "next")
    await rig.job(endpoint.url("/echo"), "job")
    await workflow(rig, {"step_ref": "a"}, slug="flow")
    first = await rig.job(
        endpoint.url("/echo"),
        "first",
        on_complete_trigger_job="next",
        on_complete_trigger_workflow="flow",
        on_complete_payload_mapping={"n": "{{result.n}}", "gone": "{{result.gone}}"},
    )
    (run_id,) = await rig.add(first, payload='{"n": 7.50}')
    done = await rig.wait(run_id)
    (flow,) = await flows(rig)
    assert (flow["triggered_by"], flow["payload"]) == ("completion", '{"n":7.50,"gone":null}')
    assert done["warnings"] == ["on_complete_trigger_workflow: {{result.gone}} of the payload mapping led nowhere"]
    ended = await over(rig, flow["id"])
    assert ended["status"] == "completed"
    (step,) = await rig.rows("SELECT lineage_depth FROM strait.all_runs WHERE workflow_run_id = %s", flow["id"])
    assert step["lineage_depth"] == 1
    assert len(await rig.rows("SELECT id FROM strait.all_runs WHERE parent_run_id = %s", run_id)) == 1
    await rig.check()


async def test_a_failure_starts_its_own_workflow(rig: Rig, endpoint: Endpoint) -> None:
    """With what is known of the failure; a run that completes starts none."""
    await workflow(rig, NAP, slug="repair")
    named = {"on_failure_trigger_workflow": "repair", "max_attempts": 1}
    bad = await rig.job(endpoint.url("/status/500"), "bad", **named)
    good = await rig.job(endpoint.url("/ok"), "good", **named)
    (failed,), (fine,) = await rig.add(bad), await rig.add(good)
    assert ((await rig.wait(failed))["status"], (await rig.wait(fine))["status"]) == (
        Status.DEAD_LETTER, Status.COMPLETED,
    )  # fmt: skip
    (flow,) = await flows(rig)
    assert ids.spell(ids.Prefix.RUN, failed) in flow["payload"]


@pytest.mark.parametrize(
    "why",
    [
        "there is no such workflow",
        "the workflow is paused",
        "the workflow is disabled",
        "the project has spent its budget of the day",
    ],
)
async def test_a_workflow_that_takes_no_runs_is_told_of(rig: Rig, endpoint: Endpoint, why: str) -> None:
    """On the run that ended, which ended all the same."""
    made = await workflow(rig, NAP, slug="flow")
    now = rig.parts.clock.now()
    if why.endswith("paused"):
        await workflows.pause_workflow(rig.conn, made.id, None, now)
    elif why.endswith("disabled"):
        await workflows.update_workflow(rig.conn, made, made.spec, rig.parts.new_id(), now, enabled=False)
    elif why.endswith("day"):
        await budgets.put_budget(rig.conn, "p", Budget(0, "UTC"), now)
    else:
        await workflows.delete_workflow(rig.conn, made.id, now)
    first = await rig.job(endpoint.url("/ok"), "first", on_complete_trigger_workflow="flow")
    (run_id,) = await rig.add(first)
    done = await rig.wait(run_id)
    assert (done["status"], done["warnings"]) == (
        Status.COMPLETED, [f"on_complete_trigger_workflow did not start 'flow': {why}"],
    )  # fmt: skip
    assert await flows(rig) == []


async def test_a_circle_through_a_workflow_ends(rig: Rig, endpoint: Endpoint) -> None:
    """A job that starts a workflow of which it is a step: so many in a row, and no more."""
    job = await rig.job(endpoint.url("/ok"), "job", on_complete_trigger_workflow="flow")
    await workflow(rig, {"step_ref": "a"}, slug="flow")
    (run_id,) = await rig.add(job)
    await rig.wait(run_id)
    seen: set[UUID] = set()
    while found := [row for row in await flows(rig) if row["id"] not in seen]:
        for row in found:
            await over(rig, row["id"])
            seen.add(row["id"])
    assert len(seen) == MAX_CHAIN
