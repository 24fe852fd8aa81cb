"""Payloads and outputs that are too much together: steps fail, the daemon goes on. The bound is lowered to 1,000 bytes."""

from __future__ import annotations

import pytest
import pytest_asyncio

from strait_core.run import Status
from strait_core.store import workflow_tree
from strait_core.workflow import facts
from tests.store.flow import Flow
from tests.store.scene import Scene

LONG = "x" * 400


@pytest_asyncio.fixture
async def flow(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Flow:
    """A scene with the jobs `a` and `undo`, and little room."""
    monkeypatch.setattr(facts, "MOST_TOGETHER", 1_000)
    monkeypatch.setattr(workflow_tree, "MOST_TOGETHER", 1_000)
    await scene.job()
    await scene.job(slug="undo")
    return Flow(scene)


async def test_payloads_that_are_too_much_together(flow: Flow) -> None:
    """Steps begin as long as there is room; the others fail, and say why. What begins later has room again."""
    made = await flow.workflow(
        *({"step_ref": ref, "on_failure": "continue"} for ref in "abcd"), {"step_ref": "e", "depends_on": ["a"]}
    )
    run_id = await flow.trigger(made, {"text": LONG})
    found = await flow.rows(run_id)
    assert {ref: row["status"] for ref, row in found.items()} == {
        "a": "running", "b": "running", "c": "failed", "d": "failed",
    }  # fmt: skip
    assert "payload_size: steps that begin together" in found["c"]["error"]
    assert await flow.go(run_id) == "completed"
    assert (await flow.rows(run_id))["e"]["status"] == "completed"
    assert await flow.scene.broken() == []


async def test_outputs_that_are_too_much_together(flow: Flow) -> None:
    """A join, and a condition, that would read more fail; whoever reads one of them alone does not."""
    parts = [{"step_ref": ref} for ref in "abc"]
    asks = {
        "type": "all_of",
        "conditions": [{"type": "exists", "operand": f"{{{{steps.{ref}.output}}}}"} for ref in "abc"],
    }
    made = await flow.workflow(
        *parts,
        {"step_ref": "gate", "step_type": "approval", "depends_on": ["a", "b", "c"]},
        {"step_ref": "join", "depends_on": ["a", "b", "c", "gate"], "on_failure": "continue"},
        {"step_ref": "asks", "depends_on": ["gate"], "condition": asks, "on_failure": "continue"},
    )
    run_id = await flow.trigger(made)
    for live in (await flow.executing()).values():
        await flow.end(live, result=LONG)
    await flow.by_hand(run_id, "gate", "approve")
    found = await flow.rows(run_id)
    assert {found[ref]["error_class"] for ref in ("join", "asks")} == {"payload_size"}
    assert await flow.status(run_id) == "completed"


async def test_a_child_with_too_many_outputs_fails_its_step(flow: Flow) -> None:
    """What a sub-workflow has put out is too much to be put together."""
    await flow.workflow(*({"step_ref": ref} for ref in "abcd"), slug="inner")
    made = await flow.workflow({"step_ref": "x", "step_type": "sub_workflow", "sub_workflow": "inner"})
    run_id = await flow.trigger(made)
    for live in (await flow.executing()).values():
        await flow.end(live, result=LONG)
    assert (await flow.rows(run_id))["x"]["error_class"] == "payload_size"


async def test_what_is_too_much_to_be_undone(flow: Flow) -> None:
    """A level whose outputs are too much ends the compensation, which says so."""
    made = await flow.workflow(
        *({"step_ref": ref, "compensation_job": "undo"} for ref in "abc"),
        {"step_ref": "gate", "step_type": "approval", "depends_on": ["a", "b", "c"], "on_failure": "compensate"},
    )
    run_id = await flow.trigger(made)
    for live in (await flow.executing()).values():
        await flow.end(live, status=Status.COMPLETED, result=LONG)
    await flow.by_hand(run_id, "gate", "reject")
    row = await flow.run(run_id)
    assert (row["status"], row["error_class"]) == ("compensation_failed", "payload_size")
