"""The trees of workflow runs that a transaction holds, and what it makes of them.

A tree is held by the row of its outermost run, so nothing in it moves meanwhile. What has happened is told to it
(`end_step` and the moves of runs), then `settle` lets everything follow: steps start, are skipped, runs end, children
tell their parents, until nothing more follows. What follows is decided in the pure core (`dag.advance`); how a step of
each type starts stands in `workflow_starts`. A crash leaves all of a transaction or nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core import ids
from strait_core.run import CANCELABLE, Event, Status
from strait_core.store import deadlines, runs, workflow_starts
from strait_core.store.history import LONG, SHORT
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought, Live, Order, StepEnd, end_of_child
from strait_core.store.workflow_rows import Row, Sent, rows, send, snapshot_for
from strait_core.workflow.dag import Decision, Fail, Skip, Start, advance, undo
from strait_core.workflow.facts import MOST_TOGETHER, PAYLOAD, TOO_MUCH, Facts
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
# A look-up each, because a wide workflow has a thousand of them read at every end of a step.
_STATUSES: Final = {status.value: status for status in StepStatus}


@dataclass(frozen=True, slots=True)
class Asked:
    """Runs whose trees are being held by statements that are under way in a pipeline."""

    wanted: frozenset[UUID]
    roots: Sent
    runs: Sent


async def ask(conn: Conn, run_ids: Collection[UUID], *, free_only: bool = False) -> Asked:
    """Hold the trees of these runs until the caller's transaction ends, in a pipeline of his; see `Tree.take`.

    With `free_only` those that nobody holds.
    """
    values = {"ids": list(run_ids)}
    roots = await send(conn, "hold_free" if free_only else "hold", values)
    return Asked(frozenset(run_ids), roots, await send(conn, "active_runs", values))


class Tree:
    """Workflow runs whose trees the transaction of `conn` holds."""

    def __init__(self, conn: Conn, now: datetime, brought: Brought) -> None:
        self.conn = conn
        self.now = now
        self.brought = brought
        self._lives: dict[UUID, Live] = {}
        # Runs that are not over, in trees that somebody else holds.
        self.elsewhere: set[UUID] = set()
        # Runs to look at, and their steps that have changed (None = all).
        self._todo: dict[UUID, set[int] | None] = {}
        # Steps whose job runs are to be made, by workflow run; nobody looks at such a run before they are.
        self._orders: dict[UUID, list[Order]] = {}
        self._weight = 0
        # What is to be written after the steps.
        self._last: list[tuple[str, Row]] = []

    @classmethod
    async def hold(
        cls, conn: Conn, run_ids: Collection[UUID], now: datetime, brought: Brought, *, free_only: bool = False
    ) -> Tree:
        """Hold the trees of these runs until the caller's transaction ends; with `free_only` those nobody holds."""
        async with conn.pipeline():
            asked = await ask(conn, run_ids, free_only=free_only)
        tree = cls(conn, now, brought)
        await tree.take(asked)
        return tree

    async def take(self, asked: Asked) -> None:
        """Take in the runs whose trees have been asked for, once that pipeline is over."""
        held = {row["id"] for row in await asked.roots.fetchall()}
        for row in await asked.runs.fetchall():
            if row["root_id"] in held:
                await self.join(row)
            else:
                self.elsewhere.add(row["id"])

    def live(self, run_id: UUID) -> Live | None:
        """A run that is held and not over."""
        found = self._lives.get(run_id)
        return None if found is None or found.is_over else found

    async def join(self, row: Row) -> Live:
        """Take in a run, with what `active_runs` says of its steps; one that has just been stored has none."""
        snapshot = await snapshot_for(self.conn, row["workflow_id"], row["version"])
        statuses = map(_STATUSES.__getitem__, row.get("statuses") or ())
        about = {"id": ids.spell(ids.Prefix.WORKFLOW_RUN, row["id"])}
        live = Live(
            row,
            snapshot,
            Facts(snapshot, about, {} if row["payload"] is None else {PAYLOAD: row["payload"]}),
            dict(zip(row.get("steps") or (), statuses, strict=True)),
            set(row.get("onward") or ()),
            {at: by for at, by in zip(row.get("open_steps") or (), row.get("open_ids") or (), strict=True) if by},
        )
        self._lives[live.id] = live
        return live

    async def joined(self, run_ids: Collection[UUID]) -> list[Live]:
        """Those of these runs that are not over, whose trees are held."""
        if missing := [run_id for run_id in run_ids if run_id not in self._lives]:
            for row in await rows(self.conn, "active_runs", {"ids": missing}):
                await self.join(row)
        return [live for run_id in run_ids if (live := self.live(run_id)) is not None]

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
        live.move(at, move, output=output, **facts)
        live.facts.outputs[at] = output
        self.look(live, {at})
        if move is StepMove.COMPLETE and at >= 0 and live.snapshot.steps[at].event_emit_key:
            await workflow_starts.emit(self, live, at, output)

    def look(self, live: Live, changed: Iterable[int] | None) -> None:
        """Let what follows from the change of these steps follow in `settle`; None = look at every step."""
        known = self._todo.setdefault(live.id, set())
        if changed is None:
            self._todo[live.id] = None
        elif known is not None:
            known.update(changed)

    # -- what follows ---------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Go on until nothing follows any more, and store it."""
        await self.decide()
        if self._last or any(live.writes for live in self._lives.values()):
            async with self.conn.pipeline():
                await self.write()

    async def decide(self) -> None:
        """Go on until nothing follows any more; what is left then is to `write` it."""
        while self._todo or self._orders:
            run_id = next((one for one in self._todo if one not in self._orders), None)
            if run_id is None or self._weight > MOST_TOGETHER:
                orders, self._orders, self._weight = self._orders, {}, 0
                await workflow_starts.place(self, [order for several in orders.values() for order in several])
                continue
            changed, live = self._todo.pop(run_id), self._lives[run_id]
            if live.is_over or live.status is RunStatus.PENDING:
                continue
            if live.status is RunStatus.COMPENSATING:
                await self._undo(live)
            else:
                await self._advance(live, changed)

    def order(self, orders: Sequence[Order]) -> None:
        """Have job runs made for these steps of one run."""
        for order in orders:
            self._orders.setdefault(order.live.id, []).append(order)
            self._weight += len(order.payload)

    def later(self, statement: str, values: Row) -> None:
        """Have something written that needs no answer, after the steps."""
        self._last.append((statement, values))

    async def write(self) -> None:
        """Store what has been decided; the caller's pipeline spares a wait for each statement."""
        await self.flush()
        last, self._last = self._last, []
        for statement, values in last:
            await send(self.conn, statement, values)

    async def flush(self) -> None:
        """Store what has been decided of steps, for a statement that has to see it."""
        changed = [live for live in self._lives.values() if live.writes]
        if not changed:
            return
        batch = [{"workflow_run_id": live.id, "steps": list(live.writes.values())} for live in changed]
        await send(self.conn, "put_steps", {"batch": Jsonb(batch, dumps=_encode), "now": self.now})
        for live in changed:
            live.writes = {}
        self.brought.moved |= {live.id for live in changed}

    async def _advance(self, live: Live, changed: set[int] | None) -> None:
        while True:
            state, facts = live.state(), live.facts
            facts.begin()
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
                    live.move(at, StepMove.SKIP, reason=reason.value)
                    if step.onward:
                        live.onward.add(at)
                case Fail(at, fault):
                    told = {"error_class": fault.error_class, "error": fault.message}
                    live.move(at, StepMove.FAIL, **told)
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
            found = await rows(self.conn, "read_outputs", {"id": live.id, "steps": steps, "most": MOST_TOGETHER})
            known = {row["step"]: row["output"] for row in found}
            outputs.update({at: known.get(at) for at in steps})
            live.facts.refused |= {row["step"] for row in found if row["is_too_much"]}

    async def _stored(self, live: Live, at: int) -> Row | None:
        found = await rows(self.conn, "read_fault", {"id": live.id, "step": at})
        return found[0] if found else None

    # -- the ends of runs -----------------------------------------------------------------------------------------

    def move_run(self, live: Live, move: RunMove, error: tuple[str, str] | None = None) -> None:
        """Move a run to another active state."""
        status = _next(live, move)
        live.row["status"] = status.value
        error_class, text = error or (None, None)
        values = {"id": live.id, "status": status.value, "error_class": error_class, "error": text, "now": self.now}
        self.later("move_run", values)
        self.brought.moved.add(live.id)

    async def end(self, live: Live, move: RunMove, error: tuple[str, str] | None = None) -> None:
        """End a run, or begin to undo it: whatever is under way is canceled, children with all that is below them."""
        status = _next(live, move)
        self._orders.pop(live.id, None)
        await self._stop(live, _ENDED if error is None else error[1])
        if status is RunStatus.COMPENSATING:
            self.move_run(live, move, error)
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
        self.later("end_run", values)
        self.brought.moved.add(live.id)
        self.brought.has_room = True
        if move is RunMove.COMPLETE and live.snapshot.spec.expect_every_secs is not None:
            await deadlines.note_successes(self.conn, {live.row["workflow_id"]: self.now})
        await self._tell_parent(live, status, outputs, error)

    async def _stop(self, live: Live, why: str) -> None:
        """Cancel what is under way."""
        open_steps = list(live.open())
        if not open_steps:
            return
        held = {at: by for at in open_steps if (by := live.held_by.get(at)) is not None}
        for at in open_steps:
            live.move(at, StepMove.CANCEL)
        children = {by for at, by in held.items() if at >= 0 and live.is_child(at)}
        job_runs = [by for at, by in held.items() if at < 0 or live.is_job(at)]
        if any(not live.is_job(at) for at in open_steps if at >= 0):
            values = {"id": live.id, "steps": open_steps, "status": "canceled", "now": self.now}
            self.later("close_approvals", {**values, "by": None, "comment": None})
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
        for child in await self.joined(sorted(children)):
            # What is being undone is left half done: nobody would hold its tree any more.
            cut = RunMove.UNDO_FAILED if child.status is RunStatus.COMPENSATING else RunMove.CANCEL
            await self.end(child, cut, ("canceled", "canceled: the run above it has ended"))

    async def _outputs(self, live: Live) -> str | None:
        """The outputs of a run's completed steps, by ref; None when they are too much to be read."""
        done = [at for at, status in live.places.items() if at >= 0 and status is StepStatus.COMPLETED]
        missing = [at for at in done if at not in live.facts.outputs]
        if missing:
            await self.read(live, missing)
        if not live.facts.refused.isdisjoint(done):
            return None
        refs, outputs = live.snapshot.steps, live.facts.outputs
        return "{" + ",".join(f'"{refs[at].step_ref}":{outputs[at] or "null"}' for at in sorted(done)) + "}"

    async def _tell_parent(
        self, live: Live, status: RunStatus, outputs: str | None, error: tuple[str, str] | None
    ) -> None:
        parent_id: UUID | None = live.row["parent_run_id"]
        if parent_id is None:
            return
        await self.joined([parent_id])
        await self.end_step(parent_id, end_of_child(live, status, outputs, error))

    async def _undo(self, live: Live) -> None:
        """Begin the next level of a compensation, or end it."""
        steps = {at: where for at, where in live.places.items() if at >= 0}
        found = undo(live.snapshot, steps, live.undone())
        if found.end is not None:
            await self.end(live, found.end)
            return
        if missing := [at for at in found.steps if at not in live.facts.outputs]:
            await self.read(live, missing)
        if not live.facts.refused.isdisjoint(found.steps):
            await self.end(live, RunMove.UNDO_FAILED, TOO_MUCH)
            return
        workflow_starts.undo(self, live, found.steps)


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
