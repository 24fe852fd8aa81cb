"""Every edge of the two tables of states is walked, and every other one is refused and changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

import pytest
import pytest_asyncio

from strait_core.errors import ConflictError
from strait_core.run import Status
from strait_core.store import workflow_runs, workflow_views
from strait_core.store.claims import Claimed
from strait_core.store.workflow_live import Live
from strait_core.store.workflows import StoredWorkflow
from strait_core.workflow.states import RUN_MOVES, STEP_MOVES, STEP_TERMINAL, RunMove, RunStatus, StepMove, StepStatus
from tests.store.flow import Flow
from tests.store.scene import Scene

LIMIT_SECS: Final = 60


@pytest_asyncio.fixture
async def flow(scene: Scene) -> Flow:
    """A scene with the jobs `a` and `undo`."""
    await scene.job()
    await scene.job(slug="undo")
    return Flow(scene)


# -- runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """A run of `x`, which can be undone, and after it `y`; `last` is the attempt that executes."""

    flow: Flow
    made: StoredWorkflow
    run_id: UUID
    others: UUID | None = None
    last: Claimed | None = None
    spent: list[Claimed] = field(default_factory=list)

    @classmethod
    async def begin(cls, flow: Flow, slug: str, on_failure: str, *, crowded: bool) -> Case:
        steps = ({"step_ref": "x", "compensation_job": "undo"}, {"step_ref": "y", "depends_on": ["x"]})
        made = await flow.workflow(
            steps[0],
            {**steps[1], "on_failure": on_failure},
            slug=slug,
            timeout_secs=LIMIT_SECS,
            max_concurrent_runs=1,
        )
        others = await flow.trigger(made) if crowded else None
        if crowded:
            await flow.promote(made)
        case = cls(flow, made, await flow.trigger(made), others)
        if not crowded:
            await flow.promote(made)
            await case.claim()
            await case.finish(Status.COMPLETED)
            await case.claim()
        return case

    async def claim(self) -> None:
        lives = [live for live in await self.flow.executing_all() if live.workflow_run_id == self.run_id]
        self.last = lives[0] if lives else None

    async def finish(self, status: Status) -> None:
        if self.last is not None:
            self.spent.append(self.last)
        for live in self.spent[-1:]:
            await self.flow.end(live, status=status, result=1)

    async def hand(self, act: Any) -> None:
        await self.flow.move(act, self.run_id)

    async def late(self) -> None:
        self.flow.scene.later(seconds=LIMIT_SECS)
        await self.flow.fire()

    async def undo(self, status: Status) -> None:
        await self.claim()
        await self.finish(status)

    async def make_room(self) -> None:
        if self.others is not None:
            await self.flow.move(workflow_runs.cancel, self.others)
        await self.flow.promote(self.made)


async def bring(flow: Flow, status: RunStatus, slug: str, on_failure: str = "fail_workflow") -> Case:
    """A run that is there."""
    undone = {RunStatus.COMPENSATING, RunStatus.COMPENSATED, RunStatus.COMPENSATION_FAILED}
    policy = "compensate" if status in undone else on_failure
    case = await Case.begin(flow, slug, policy, crowded=status is RunStatus.PENDING)
    match status:
        case RunStatus.PAUSED:
            await case.hand(workflow_runs.pause)
        case RunStatus.COMPLETED:
            await case.finish(Status.COMPLETED)
        case RunStatus.TIMED_OUT:
            await case.late()
        case RunStatus.CANCELED:
            await case.hand(workflow_runs.cancel)
        case RunStatus.FAILED | RunStatus.COMPENSATING:
            await case.finish(Status.FAILED)
        case RunStatus.COMPENSATED | RunStatus.COMPENSATION_FAILED:
            await case.finish(Status.FAILED)
            await case.undo(Status.COMPLETED if status is RunStatus.COMPENSATED else Status.FAILED)
    assert await flow.status(case.run_id) == status
    return case


async def give_up(case: Case) -> None:
    act = partial(workflow_runs.give_up, why="a fault of ours")
    # What is being undone ends by a move of its own.
    await (case.finish(Status.FAILED) if await case.flow.status(case.run_id) == "compensating" else case.hand(act))


async def compensate(case: Case) -> None:
    """By its policy where a run is under way, by hand where it is over."""
    if await case.flow.status(case.run_id) in {"running", "paused", "pending"}:
        await case.finish(Status.FAILED)
    else:
        await case.hand(workflow_runs.compensate)


ACTS: Final[dict[RunMove, Callable[[Case], Awaitable[None]]]] = {
    RunMove.START: Case.make_room,
    RunMove.PAUSE: lambda case: case.hand(workflow_runs.pause),
    RunMove.RESUME: lambda case: case.hand(workflow_runs.resume),
    RunMove.COMPLETE: lambda case: case.finish(Status.COMPLETED),
    RunMove.FAIL: give_up,
    RunMove.TIME_OUT: Case.late,
    RunMove.CANCEL: lambda case: case.hand(workflow_runs.cancel),
    RunMove.COMPENSATE: compensate,
    RunMove.UNDONE: lambda case: case.undo(Status.COMPLETED),
    RunMove.UNDO_FAILED: lambda case: case.undo(Status.FAILED),
    RunMove.RETRY: lambda case: case.hand(workflow_runs.retry),
}
# What undoes a run under way is the end of a step that it waits for, and so a move of its own.
_BY_STEPS: Final = {RunMove.UNDONE: RunStatus.COMPENSATING, RunMove.UNDO_FAILED: RunStatus.COMPENSATING}


@pytest.mark.parametrize("status", RunStatus)
async def test_moves_of_runs(flow: Flow, status: RunStatus) -> None:
    """From this state each move of the table leads where it says, and no other one leads anywhere."""
    for move, act in ACTS.items():
        if _BY_STEPS.get(move, status) is not status:
            continue
        policy = "compensate" if move is RunMove.COMPENSATE and status is RunStatus.RUNNING else "fail_workflow"
        case = await bring(flow, status, f"w-{move.value.replace('_', '-')}", policy)
        before = await flow.run(case.run_id)
        try:
            await act(case)
        except ConflictError:
            assert (status, move) not in RUN_MOVES, f"{move} was refused"
            assert await flow.run(case.run_id) == before
        after = await flow.run(case.run_id)
        wanted = RUN_MOVES.get((status, move), status)
        assert after["status"] == wanted, f"{move} has led to {after['status']}"
        if after["status"] in {"pending", "running", "paused"}:
            await flow.move(workflow_runs.cancel, case.run_id)


# -- steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", StepStatus)
@pytest.mark.parametrize("move", StepMove)
def test_moves_of_steps(at: StepStatus, move: StepMove) -> None:
    """What a transaction makes of a step goes by the table; any other move is a fault and changes nothing."""
    live = Live({"id": UUID(int=1)}, None, None, {0: at}, set(), {})  # type: ignore[arg-type]
    if (at, move) in STEP_MOVES:
        live.move(0, move)
        assert live.where(0) is STEP_MOVES[at, move]
        assert live.writes[0].get("ends", False) is (live.where(0) in STEP_TERMINAL)
        return
    with pytest.raises(ValueError, match=f"{move} does not lead from {at}"):
        live.move(0, move)
    assert (live.where(0), live.writes) == (at, {})


NEVER: Final = {"type": "eq", "left": "{{payload.go}}", "right": "never"}
ASKS: Final = {"step_ref": "ask", "step_type": "approval"}


class Walk:
    """Small stories, each of which leads a step along some edges."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    async def of_jobs(self) -> None:
        """pending → running → completed, failed, canceled; all of them anew."""
        steps = [{"step_ref": ref} for ref in ("x", "y", "z")]
        run_id = await self.flow.trigger(await self.flow.workflow(*steps, slug="jobs"))
        lives = await self.flow.executing()
        await self.flow.end(lives["x"])
        await self.flow.end(lives["y"], status=Status.FAILED)
        assert await self.flow.steps(run_id) == {"x": "completed", "y": "failed", "z": "canceled"}
        await self.flow.by_hand(run_id, "x", "retry")
        assert await self.flow.go(run_id, {"y": Status.FAILED}) == "failed"
        await self.flow.move(workflow_runs.retry, run_id)
        assert await self.flow.go(run_id) == "completed"

    async def of_waits(self) -> None:
        """pending → waiting → completed, failed, skipped, canceled."""
        steps = [{**ASKS, "step_ref": ref} for ref in ("a", "b", "c")]
        made = await self.flow.workflow(*steps, {**ASKS, "step_ref": "d", "on_failure": "continue"}, slug="waits")
        run_id = await self.flow.trigger(made)
        await self.flow.by_hand(run_id, "a", "approve")
        await self.flow.by_hand(run_id, "b", "skip")
        await self.flow.by_hand(run_id, "d", "reject")
        await self.flow.move(workflow_runs.cancel, run_id)
        assert await self.flow.steps(run_id) == {"a": "completed", "b": "skipped", "c": "canceled", "d": "failed"}

    async def of_pending(self) -> None:
        """pending → completed, failed, skipped, without ever having begun; skipped → pending."""
        made = await self.flow.workflow(
            ASKS,
            {"step_ref": "done", "depends_on": ["ask"]},
            {"step_ref": "never", "condition": NEVER},
            {"step_ref": "empty", "payload": {"x": "{{payload.there_is_none}}"}, "on_failure": "continue"},
            slug="pending",
        )
        run_id = await self.flow.trigger(made, {"go": "now"})
        await self.flow.by_hand(run_id, "done", "complete")
        await self.flow.by_hand(run_id, "never", "retry")
        found = await self.flow.steps(run_id)
        assert found == {"ask": "waiting", "done": "completed", "never": "skipped", "empty": "failed"}

    async def of_the_unbegun(self) -> None:
        """pending → canceled: what has not begun when a run is over is told as canceled, and no row is written."""
        run_id = await self.flow.trigger(
            await self.flow.workflow(ASKS, {"step_ref": "x", "depends_on": ["ask"]}, slug="u")
        )
        await self.flow.move(workflow_runs.cancel, run_id)
        _, views = await workflow_views.view_steps(self.flow.scene.conn, await self.flow.run(run_id))
        assert [view.status for view in views] == ["canceled", "canceled"]
        assert views[1].row is None


async def test_every_edge_of_steps_is_walked(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real engine, and all that is moved there is in the table."""
    walked: set[tuple[StepStatus, StepMove]] = {(StepStatus.PENDING, StepMove.CANCEL)}
    plain = Live.move

    def move(self: Live, at: int, move: StepMove, *words: Any, **more: Any) -> None:
        walked.add((self.where(at), move))
        plain(self, at, move, *words, **more)

    monkeypatch.setattr(Live, "move", move)
    walk = Walk(flow)
    for story in (walk.of_jobs, walk.of_waits, walk.of_pending, walk.of_the_unbegun):
        await story()
    assert walked == set(STEP_MOVES)
