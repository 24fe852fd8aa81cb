"""The trees of workflow runs that a transaction holds, and what it makes of them.

A tree is held by the row of its outermost run, so nothing in it moves meanwhile. What has happened is told to it
(`end_step` and the moves of runs), then `settle` lets everything follow: steps start, are skipped, runs end, children
tell their parents, until nothing more follows. What follows is decided in the pure core (`dag.advance`); how a step of
each type starts stands in `workflow_starts`. A crash leaves all of a transaction or nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core import ids
from strait_core.run import CANCELABLE, Event, Status
from strait_core.store import runs, workflow_starts
from strait_core.store.history import LONG, SHORT
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought, Live, StepEnd
from strait_core.store.workflow_rows import Row, rows, snapshot_for
from strait_core.trigger import MAX_PAYLOAD_BYTES
from strait_core.workflow.dag import Decision, Fail, Skip, Start, advance, undo
from strait_core.workflow.definition import StepType
from strait_core.workflow.facts import PAYLOAD, Facts
from strait_core.workflow.states import (
    RUN_LONG_KEPT,
    STEP_OPEN,
    RunMove,
    RunStatus,
    StepMove,
    StepStatus,
    next_run_status,
)
from strait_core.workflow.transform import TransformError, transform

_encode: Final = msgspec.json.Encoder().encode
_ENDED: Final = "the workflow run has ended"


class Tree:
    """Workflow runs whose trees the transaction of `conn` holds."""

    def __init__(self, conn: Conn, now: datetime, brought: Brought) -> None:
        self.conn = conn
        self.now = now
        self.brought = brought
        self._lives: dict[UUID, Live] = {}
        # Runs to look at, and their steps that have changed (None = all).
        self._todo: dict[UUID, set[int] | None] = {}

    @classmethod
    async def hold(
        cls, conn: Conn, run_ids: Collection[UUID], now: datetime, brought: Brought, *, free_only: bool = False
    ) -> Tree:
        """Hold the trees of these runs until the caller's transaction ends; with `free_only` those nobody holds."""
        tree = cls(conn, now, brought)
        held = await rows(conn, "hold_free" if free_only else "hold", {"ids": list(run_ids)})
        wanted = set(run_ids)
        for row in held:
            if row["id"] in wanted:
                await tree._add(row)
        if rest := wanted - tree._lives.keys():
            roots = {row["id"] for row in held}
            for row in await rows(conn, "active_runs", {"ids": list(rest)}):
                if row["root_id"] in roots:
                    await tree._add(row)
        return tree

    def live(self, run_id: UUID) -> Live | None:
        """A run that is held and not over."""
        found = self._lives.get(run_id)
        return None if found is None or found.is_over else found

    async def join(self, row: Row) -> Live:
        """Take in a run that the transaction has just stored, or brought back."""
        return await self._add(row)

    async def _add(self, row: Row) -> Live:
        snapshot = await snapshot_for(self.conn, row["workflow_id"], row["version"])
        (found,) = await rows(self.conn, "steps_of", {"id": row["id"]})
        statuses = map(StepStatus, found["statuses"] or ())
        about = {"id": ids.spell(ids.Prefix.WORKFLOW_RUN, row["id"])}
        live = Live(
            row,
            snapshot,
            Facts(snapshot, about, {} if row["payload"] is None else {PAYLOAD: row["payload"]}),
            dict(zip(found["steps"] or (), statuses, strict=True)),
            set(found["onward"] or ()),
            {at: by for at, by in zip(found["open_steps"] or (), found["open_ids"] or (), strict=True) if by},
        )
        self._lives[live.id] = live
        return live

    # -- what has happened ----------------------------------------------------------------------------------------

    async def end_step(self, run_id: UUID, end: StepEnd) -> bool:
        """A step is over, or its undoing; False when it is not so any more, and nothing has changed."""
        live = self.live(run_id)
        if live is None or live.where(end.step) not in STEP_OPEN or live.held_by.get(end.step) != end.by:
            return False
        await self.finish(live, end)
        return True

    async def finish(self, live: Live, end: StepEnd, *, is_shaped: bool = False) -> None:
        """Move a step to where `end` says, with its output as the step shapes it."""
        at, move, output = end.step, end.move, end.output
        facts: dict[str, Any] = {"error_class": end.error_class, "error": end.error, "reason": end.reason}
        if move is StepMove.COMPLETE and at >= 0 and not is_shaped:
            try:
                output = _shaped(live, at, output)
            except TransformError as error:
                move, output = StepMove.FAIL, None
                facts |= {"error_class": "transform", "error": f"transform: {error}"}
        live.move(at, move, self.now, output=output, **facts)
        live.facts.outputs[at] = output
        self.look(live, {at})
        if move is StepMove.COMPLETE and at >= 0 and live.snapshot.steps[at].event_emit_key:
            await workflow_starts.emit(self, live, at, output)

    def look(self, live: Live, changed: Iterable[int] | None) -> None:
        """Let what follows from the change of these steps follow in `settle`; None = look at every step."""
        known = self._todo.get(live.id, set())
        self._todo[live.id] = None if changed is None or known is None else known | set(changed)

    # -- what follows ---------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Go on until nothing follows any more, and store it."""
        while self._todo:
            run_id, changed = self._todo.popitem()
            live = self._lives[run_id]
            if live.is_over or live.status is RunStatus.PENDING:
                continue
            if live.status is RunStatus.COMPENSATING:
                await self._undo(live)
            else:
                await self._advance(live, changed)
        for live in self._lives.values():
            await self.flush(live)

    async def _advance(self, live: Live, changed: set[int] | None) -> None:
        while True:
            state, facts = live.state(), live.facts
            found = advance(live.snapshot, state, changed, judge=facts.judge, prepare=facts.prepare)
            if not found.wanted:
                break
            await self.read(live, found.wanted)
        await self._carry_out(live, found.steps)
        if found.end is not None:
            cause = (
                None if found.cause is None else live.writes.get(found.cause) or await self._stored(live, found.cause)
            )
            await self.end(live, found.end, _why(live, found.cause, cause))

    async def _carry_out(self, live: Live, steps: Sequence[Decision]) -> None:
        starts: list[Start] = []
        for step in steps:
            match step:
                case Skip(at, reason):
                    live.move(at, StepMove.SKIP, self.now, reason=reason.value)
                    if step.onward:
                        live.onward.add(at)
                case Fail(at, fault):
                    told = {"error_class": fault.error_class, "error": fault.message}
                    live.move(at, StepMove.FAIL, self.now, **told)
                case Start():
                    starts.append(step)
        if starts:
            await workflow_starts.start(self, live, starts)

    async def read(self, live: Live, wanted: Collection[int]) -> None:
        """Read outputs, and the payload that the run was triggered with."""
        outputs = live.facts.outputs
        if PAYLOAD in wanted:
            (row,) = await rows(self.conn, "read_payload", {"id": live.id})
            outputs[PAYLOAD] = row["payload"]
        if steps := [at for at in wanted if at != PAYLOAD]:
            found = await rows(self.conn, "read_outputs", {"id": live.id, "steps": steps})
            known = {row["step"]: row["output"] for row in found}
            outputs.update({at: known.get(at) for at in steps})

    async def _stored(self, live: Live, at: int) -> Row | None:
        found = await rows(self.conn, "read_fault", {"id": live.id, "step": at})
        return found[0] if found else None

    async def flush(self, live: Live) -> None:
        """Store what has been decided of the run's steps."""
        if not live.writes or live.is_over:
            return
        batch = Jsonb(list(live.writes.values()), dumps=_encode)
        live.writes = {}
        await rows(self.conn, "put_steps", {"id": live.id, "batch": batch, "now": self.now})
        self.brought.moved.add(live.id)

    async def flush_all(self) -> None:
        """Store what has been decided so far, for a statement that has to see it."""
        for live in self._lives.values():
            await self.flush(live)

    # -- the ends of runs -----------------------------------------------------------------------------------------

    async def move_run(self, live: Live, move: RunMove, error: tuple[str, str] | None = None) -> None:
        """Move a run to another active state."""
        status = _next(live, move)
        live.row["status"] = status.value
        error_class, text = error or (None, None)
        values = {"id": live.id, "status": status.value, "error_class": error_class, "error": text, "now": self.now}
        await rows(self.conn, "move_run", values)
        self.brought.moved.add(live.id)

    async def end(self, live: Live, move: RunMove, error: tuple[str, str] | None = None) -> None:
        """End a run, or begin to undo it: whatever is under way is canceled, children with all that is below them."""
        status = _next(live, move)
        await self._stop(live, _ENDED if error is None else error[1])
        await self.flush(live)
        if status is RunStatus.COMPENSATING:
            await self.move_run(live, move, error)
            self.look(live, None)
            return
        live.row["status"] = status.value
        live.is_over = True
        outputs = await self._outputs(live) if live.row["parent_run_id"] and move is RunMove.COMPLETE else None
        error_class, text = error or (None, None)
        values = {
            "id": live.id,
            "status": status.value,
            "keep": LONG if status in RUN_LONG_KEPT else SHORT,
            "error_class": error_class,
            "error": text,
            "now": self.now,
        }
        await rows(self.conn, "end_run", values)
        self.brought.moved.add(live.id)
        self.brought.has_room = True
        await self._tell_parent(live, status, outputs, error)

    async def _stop(self, live: Live, why: str) -> None:
        """Cancel what is under way."""
        open_steps = list(live.open())
        if not open_steps:
            return
        held = {at: by for at in open_steps if (by := live.held_by.get(at)) is not None}
        for at in open_steps:
            live.move(at, StepMove.CANCEL, self.now)
        children = {by for at, by in held.items() if at >= 0 and _is_child(live, at)}
        job_runs = [by for at, by in held.items() if at < 0 or _is_job(live, at)]
        if any(not _is_job(live, at) for at in open_steps if at >= 0):
            values = {"id": live.id, "steps": open_steps, "status": "canceled", "now": self.now}
            await rows(self.conn, "close_approvals", {**values, "by": None, "comment": None})
        if job_runs:
            self.brought.ended += await runs.end_active(
                self.conn,
                job_runs,
                event=Event.CANCEL,
                to=Status.CANCELED,
                allowed=CANCELABLE,
                now=self.now,
                reason=why[:500],
            )
        for row in await rows(self.conn, "active_runs", {"ids": sorted(children)}) if children else []:
            child = self._lives.get(row["id"]) or await self._add(row)
            if not child.is_over:
                # What is being undone is left half done: nobody would hold its tree any more.
                cut = RunMove.UNDO_FAILED if child.status is RunStatus.COMPENSATING else RunMove.CANCEL
                await self.end(child, cut, ("canceled", "canceled: the run above it has ended"))

    async def _outputs(self, live: Live) -> str:
        """The outputs of a run's completed steps, by ref."""
        done = [at for at, status in live.places.items() if at >= 0 and status is StepStatus.COMPLETED]
        missing = [at for at in done if at not in live.facts.outputs]
        if missing:
            await self.read(live, missing)
        refs, outputs = live.snapshot.steps, live.facts.outputs
        return "{" + ",".join(f'"{refs[at].step_ref}":{outputs[at] or "null"}' for at in sorted(done)) + "}"

    async def _tell_parent(
        self, live: Live, status: RunStatus, outputs: str | None, error: tuple[str, str] | None
    ) -> None:
        parent_id: UUID | None = live.row["parent_run_id"]
        if parent_id is None:
            return
        if parent_id not in self._lives:
            for row in await rows(self.conn, "active_runs", {"ids": [parent_id]}):
                await self._add(row)
        await self.end_step(parent_id, _end_of_child(live, status, outputs, error))

    async def _undo(self, live: Live) -> None:
        """Begin the next level of a compensation, or end it."""
        steps = {at: where for at, where in live.places.items() if at >= 0}
        found = undo(live.snapshot, steps, live.undone())
        if found.end is not None:
            await self.end(live, found.end)
            return
        if missing := [at for at in found.steps if at not in live.facts.outputs]:
            await self.read(live, missing)
        await workflow_starts.undo(self, live, found.steps)


def _next(live: Live, move: RunMove) -> RunStatus:
    status = next_run_status(live.status, move)
    if status is None:
        raise ValueError(f"{move} does not lead from {live.status}")
    return status


def _shaped(live: Live, at: int, output: str | None) -> str | None:
    path = live.snapshot.steps[at].output_transform
    return output if path is None else transform(path, output or "null")


def _why(live: Live, at: int | None, told: Row | None) -> tuple[str, str] | None:
    """The error of a run that a step has ended."""
    if at is None:
        return None
    error_class, text = (told or {}).get("error_class") or "step", (told or {}).get("error") or "failed"
    return error_class, f"step {live.snapshot.steps[at].step_ref}: {text}"


def _is_job(live: Live, at: int) -> bool:
    return at < 0 or live.snapshot.steps[at].step_type is StepType.JOB


def _is_child(live: Live, at: int) -> bool:
    return at >= 0 and live.snapshot.steps[at].step_type is StepType.SUB_WORKFLOW


def _end_of_child(live: Live, status: RunStatus, outputs: str | None, error: tuple[str, str] | None) -> StepEnd:
    """What the end of a sub-workflow's run means for the step that it carries out."""
    at: int = live.row["parent_step"]
    if status is RunStatus.COMPLETED and len(outputs or "") <= MAX_PAYLOAD_BYTES:
        return StepEnd(at, live.id, StepMove.COMPLETE, output=outputs)
    if status is RunStatus.COMPLETED:
        said = f"payload_size: the outputs of the sub-workflow are over {MAX_PAYLOAD_BYTES} bytes"
        return StepEnd(at, live.id, StepMove.FAIL, error_class="payload_size", error=said)
    text = error[1] if error is not None else f"the sub-workflow was {status.value}"
    return StepEnd(at, live.id, StepMove.FAIL, error_class=f"sub_workflow_{status.value}", error=text)
