"""A workflow run in the hands of a transaction: where its steps are, and what has to be written of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from strait_core.run import Status
from strait_core.store.runs import Ended
from strait_core.trigger import MAX_PAYLOAD_BYTES, NewRun
from strait_core.workflow.dag import State
from strait_core.workflow.definition import StepType
from strait_core.workflow.facts import Facts
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import (
    STEP_OPEN,
    STEP_TERMINAL,
    RunStatus,
    StepMove,
    StepStatus,
    next_step_status,
)

Row = dict[str, Any]
_BEGINS: Final = frozenset({StepMove.RUN, StepMove.AWAIT})
# What an earlier move of the same transaction has said of a step, and a later one does not say again.
_KEPT: Final = ("begins", "job_run_id", "child_run_id", "event_id")


@dataclass(slots=True)
class Brought:
    """What a transaction on workflow runs has brought about, for who announces it after the commit."""

    # Job runs that were made, and job runs that were ended because nobody needs them any more.
    started: list[NewRun] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    # Workflow runs that have changed, and job runs that wait no more.
    moved: set[UUID] = field(default_factory=set)
    resumed: list[UUID] = field(default_factory=list)
    # When the first of the waits that have begun is over.
    due_at: datetime | None = None
    # A run has ended, or one has to wait for that: whoever waits for room may look.
    has_room: bool = False

    def add(self, other: Brought) -> None:
        """This and what another transaction has brought about."""
        self.started += other.started
        self.ended += other.ended
        self.moved |= other.moved
        self.resumed += other.resumed
        self.due(other.due_at)
        self.has_room = self.has_room or other.has_room

    def due(self, at: datetime | None) -> None:
        """A step that has begun to wait has to be looked at then."""
        if at is not None:
            self.due_at = at if self.due_at is None else min(self.due_at, at)


@dataclass(frozen=True, slots=True)
class StepEnd:
    """What became of a step: of its job run, its child, or by somebody's word. `by` is the run that carried it out."""

    step: int
    by: UUID | None
    move: StepMove
    output: str | None = None
    error_class: str | None = None
    error: str | None = None
    reason: str | None = None


def undoing_of(step: int) -> int:
    """The place of what undoes a step."""
    return -1 - step


@dataclass(slots=True)
class Live:
    """An active run of a tree that the caller holds.

    `places` says where the steps are that are not pending, `writes` what is to be stored of them. What undoes a step
    has a place of its own (`undoing_of`). `held_by` names the job run, child or event of an open step.
    """

    row: Row
    snapshot: Snapshot
    facts: Facts
    places: dict[int, StepStatus]
    onward: set[int]
    held_by: dict[int, UUID]
    writes: dict[int, Row] = field(default_factory=dict)
    is_over: bool = False

    @property
    def id(self) -> UUID:
        """The run's id."""
        run_id: UUID = self.row["id"]
        return run_id

    @property
    def status(self) -> RunStatus:
        """Where the run is."""
        return RunStatus(self.row["status"])

    def state(self) -> State:
        """What the engine sees of it."""
        return State(
            {at: status for at, status in self.places.items() if at >= 0},
            self.onward,
            frozenset(self.row["disabled"]),
            paused=self.status is RunStatus.PAUSED,
        )

    def undone(self) -> dict[int, StepStatus]:
        """Where the undoing of each step is, by step."""
        return {undoing_of(at): status for at, status in self.places.items() if at < 0}

    def open(self) -> Iterator[int]:
        """The places at which something is under way."""
        return (at for at, status in self.places.items() if status in STEP_OPEN)

    def where(self, at: int) -> StepStatus:
        """Where a step is."""
        return self.places.get(at, StepStatus.PENDING)

    def is_job(self, at: int) -> bool:
        """Whether a job run carries out what stands there."""
        return at < 0 or self.snapshot.steps[at].step_type is StepType.JOB

    def is_child(self, at: int) -> bool:
        """Whether a run of another workflow does."""
        return at >= 0 and self.snapshot.steps[at].step_type is StepType.SUB_WORKFLOW

    def move(self, at: int, move: StepMove, **facts: Any) -> None:
        """Move a step and note what is to be stored of it, less what is null; ValueError when there is no such move."""
        status = next_step_status(self.where(at), move)
        if status is None:
            raise ValueError(f"{move} does not lead from {self.where(at)}")
        write: Row = {name: fact for name, fact in facts.items() if fact is not None}
        write["step"], write["status"] = at, status.value
        if move in _BEGINS:
            write["begins"] = True
        if (before := self.writes.get(at)) is not None:
            for name in ("begins",) if move is StepMove.RESET else _KEPT:
                if name in before:
                    write.setdefault(name, before[name])
        if status in STEP_TERMINAL:
            write["ends"] = True
            self.held_by.pop(at, None)
        self.places[at] = status
        self.writes[at] = write

    def forget(self, steps: Iterable[int]) -> None:
        """Put steps that are over back to the beginning."""
        for at in steps:
            if self.where(at) in STEP_TERMINAL:
                self.move(at, StepMove.RESET)
            self.onward.discard(at)
            self.facts.outputs.pop(at, None)


@dataclass(frozen=True, slots=True)
class Order:
    """A job run that is to be made for the place `at` of a run: by which job, and with what."""

    live: Live
    at: int
    ref: str
    payload: str


def end_of_run(run: Ended, status: Status, result: str | None, error: tuple[str, str]) -> StepEnd | None:
    """What the end of a job run means for its step; None when it has none."""
    if run.step_index is None:
        return None
    if status is Status.COMPLETED:
        return StepEnd(run.step_index, run.id, StepMove.COMPLETE, output=result)
    error_class, text = error
    return StepEnd(run.step_index, run.id, StepMove.FAIL, error_class=error_class, error=text)


def end_of_child(live: Live, status: RunStatus, outputs: str | None, error: tuple[str, str] | None) -> StepEnd:
    """What the end of a sub-workflow's run means for the step that it carries out; no outputs = too much to be read."""
    at: int = live.row["parent_step"]
    if status is RunStatus.COMPLETED and outputs is not None and len(outputs) <= MAX_PAYLOAD_BYTES:
        return StepEnd(at, live.id, StepMove.COMPLETE, output=outputs)
    if status is RunStatus.COMPLETED:
        said = f"payload_size: the outputs of the sub-workflow are over {MAX_PAYLOAD_BYTES} bytes"
        return StepEnd(at, live.id, StepMove.FAIL, error_class="payload_size", error=said)
    text = error[1] if error is not None else f"the sub-workflow was {status.value}"
    return StepEnd(at, live.id, StepMove.FAIL, error_class=f"sub_workflow_{status.value}", error=text)
