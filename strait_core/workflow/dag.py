"""What a workflow run does next: which steps start, which are skipped, whether it is over.

`advance` is the whole engine. It is pure: it reads the snapshot of the definition, where the steps are, and what has
changed, and answers with decisions that somebody carries out. It looks only at what depends on a change, goes on until
nothing more follows (skips included), and its answer does not depend on the order in which the changes came: a step is
judged by where its dependencies are, never by how they came there.

Of conditions and payloads it knows nothing: `judge` and `prepare` answer for a step, or ask for outputs that have not
been read yet. Then `advance` gives no decisions but these wishes, and is asked again once they are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from typing import Final, TypeAlias

from strait_core.workflow.definition import OnFailure, StepType
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import STEP_OPEN, STEP_TERMINAL, RunMove, StepStatus


class Reason(StrEnum):
    """Why a step was skipped."""

    CONDITION = "condition"
    DISABLED = "disabled"
    UPSTREAM = "upstream"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Outputs of these steps have to be read before the question can be answered."""

    steps: frozenset[int]


@dataclass(frozen=True, slots=True)
class Fault:
    """The step cannot run: a class, and what is wrong in words."""

    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Ready:
    """What a step starts with: the payload of its run, the key of its event, the text of an instant; None = nothing."""

    text: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Where a run is. A step that `steps` does not name is pending.

    `onward` are the skipped steps whose dependents are skipped too, `disabled` those that the trigger has switched off.
    """

    steps: Mapping[int, StepStatus]
    onward: Collection[int] = frozenset()
    disabled: Collection[int] = frozenset()
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Start the step."""

    step: int
    ready: Ready


@dataclass(frozen=True, slots=True)
class Skip:
    """Skip the step, and if `onward` whatever depends on it."""

    step: int
    reason: Reason

    @property
    def onward(self) -> bool:
        """Whether the dependents are skipped too."""
        return self.reason is Reason.UPSTREAM


@dataclass(frozen=True, slots=True)
class Fail:
    """The step has failed before it began."""

    step: int
    fault: Fault


Decision: TypeAlias = Start | Skip | Fail
Judge: TypeAlias = Callable[[int, Mapping[int, StepStatus]], "bool | Fault | Wanted"]
Prepare: TypeAlias = Callable[[int, Mapping[int, StepStatus]], "Ready | Fault | Wanted"]


@dataclass(slots=True)
class Decisions:
    """What follows: for steps, in topological order, and for the run (None = it goes on).

    `cause` is the step that ends the run. With `wanted` there is nothing else.
    """

    steps: list[Decision] = field(default_factory=list)
    end: RunMove | None = None
    cause: int | None = None
    wanted: frozenset[int] = frozenset()


_FATAL: Final = frozenset({OnFailure.FAIL_WORKFLOW, OnFailure.COMPENSATE})
# Steps of these types do work of their own; the others wait.
WORKING: Final = frozenset({StepType.JOB, StepType.SUB_WORKFLOW})


def advance(
    snapshot: Snapshot, state: State, changed: Collection[int] | None, *, judge: Judge, prepare: Prepare
) -> Decisions:
    """What follows from the change of these steps; None = look at every step.

    `judge` says whether a step's condition holds, `prepare` what the step starts with; both get the states as they
    would then be. Nothing starts and nothing is skipped in a run that is paused.
    """
    return _Advance(snapshot, state, judge, prepare).run(changed)


class _Advance:
    """One answer in the making."""

    def __init__(self, snapshot: Snapshot, state: State, judge: Judge, prepare: Prepare) -> None:
        self.snapshot = snapshot
        self.state = state
        self.judge = judge
        self.prepare = prepare
        self.statuses = dict(state.steps)
        self.onward = set(state.onward)
        # Whether any step may keep others from running: of a thousand parents nobody is asked else.
        self.may_block = bool(self.onward) or StepStatus.FAILED in self.statuses.values()
        self.steps: list[Decision] = []
        self.fatal: list[int] = []
        self.wanted: set[int] = set()
        self.heap: list[tuple[int, int]] = []
        self.seen: set[int] = set()
        self.working = 0
        self.keys: set[str] = set()

    def run(self, changed: Collection[int] | None) -> Decisions:
        """The answer."""
        everything = changed is None or self.state.paused
        self.fatal = [at for at in (self.statuses if everything else changed or ()) if self._is_fatal(at)]
        if self.state.paused:
            # What has gone wrong meanwhile ends the run when it goes on.
            return Decisions() if self.fatal else self._end()
        if self.fatal:
            return self._end()
        if changed is None or self.snapshot.is_limited:
            self._count()
            self._look(range(len(self.snapshot.steps)))
        else:
            self._look(one for at in changed for one in self.snapshot.heirs[at])
        while self.heap and not self.fatal:
            at = heappop(self.heap)[1]
            self.seen.discard(at)
            self._decide(at)
        if self.wanted and not self.fatal:
            return Decisions(wanted=frozenset(self.wanted))
        return self._end()

    def _end(self) -> Decisions:
        """The decisions so far, and what they mean for the run."""
        if self.fatal:
            cause = min(self.fatal, key=self.snapshot.rank.__getitem__)
            undoes = self.snapshot.steps[cause].on_failure is OnFailure.COMPENSATE
            told: list[Decision] = [step for step in self.steps if not isinstance(step, Start)]
            return Decisions(told, RunMove.COMPENSATE if undoes else RunMove.FAIL, cause)
        # A step that `statuses` does not name is pending.
        known = len(self.statuses) == len(self.snapshot.steps)
        over = known and STEP_TERMINAL.issuperset(self.statuses.values())
        return Decisions(self.steps, RunMove.COMPLETE if over else None)

    def _is_fatal(self, at: int) -> bool:
        return self.statuses.get(at) is StepStatus.FAILED and self.snapshot.steps[at].on_failure in _FATAL

    def _count(self) -> None:
        """What limits look at: how many steps work, and which keys are in use."""
        for at, status in self.statuses.items():
            if status in STEP_OPEN:
                self._use(at)

    def _use(self, at: int) -> None:
        step = self.snapshot.steps[at]
        self.working += step.step_type in WORKING
        if step.concurrency_key:
            self.keys.add(step.concurrency_key)

    def _has_room(self, at: int) -> bool:
        step, most = self.snapshot.steps[at], self.snapshot.spec.max_parallel_steps
        if step.concurrency_key and step.concurrency_key in self.keys:
            return False
        return most is None or step.step_type not in WORKING or self.working < most

    def _look(self, steps: Iterable[int]) -> None:
        for at in steps:
            if at not in self.seen and self.statuses.get(at, StepStatus.PENDING) is StepStatus.PENDING:
                self.seen.add(at)
                heappush(self.heap, (self.snapshot.rank[at], at))

    def _decide(self, at: int) -> None:
        """Judge a step that is pending."""
        if self.may_block and any(self._blocks(one) for one in self.snapshot.graph.parents[at]):
            self._skip(at, Reason.UPSTREAM)
        elif any(self.statuses.get(one) not in STEP_TERMINAL for one in self.snapshot.needs[at]):
            return
        elif at in self.state.disabled:
            self._skip(at, Reason.DISABLED)
        else:
            self._judge(at)

    def _blocks(self, at: int) -> bool:
        failed = self.statuses.get(at) is StepStatus.FAILED
        return at in self.onward or (failed and self.snapshot.steps[at].on_failure is OnFailure.SKIP_DEPENDENTS)

    def _judge(self, at: int) -> None:
        verdict: bool | Ready | Fault | Wanted = self.judge(at, self.statuses)
        if verdict is True:
            if not self._has_room(at):
                return
            verdict = self.prepare(at, self.statuses)
        match verdict:
            case Wanted(steps):
                self.wanted |= steps
            case Fault():
                self._fail(at, verdict)
            case Ready():
                self.steps.append(Start(at, verdict))
                works = self.snapshot.steps[at].step_type in WORKING
                self.statuses[at] = StepStatus.RUNNING if works else StepStatus.WAITING
                self._use(at)
            case _:
                self._skip(at, Reason.CONDITION)

    def _skip(self, at: int, reason: Reason) -> None:
        self.steps.append(Skip(at, reason))
        self.statuses[at] = StepStatus.SKIPPED
        if reason is Reason.UPSTREAM:
            self.onward.add(at)
            self.may_block = True
        self._look(self.snapshot.heirs[at])

    def _fail(self, at: int, fault: Fault) -> None:
        self.steps.append(Fail(at, fault))
        self.statuses[at] = StepStatus.FAILED
        self.may_block = True
        if self._is_fatal(at):
            self.fatal.append(at)
        else:
            self._look(self.snapshot.heirs[at])


@dataclass(frozen=True, slots=True)
class Undoing:
    """Which steps are to be undone now, and whether that is all (None = it goes on)."""

    steps: tuple[int, ...] = ()
    end: RunMove | None = None


def undo(snapshot: Snapshot, steps: Mapping[int, StepStatus], undone: Mapping[int, StepStatus]) -> Undoing:
    """What a compensation does next: completed steps that have a compensation job, the deepest level first.

    `undone` tells where the compensation of each step is; a level begins when the one before has completed.
    """
    if StepStatus.FAILED in undone.values():
        return Undoing(end=RunMove.UNDO_FAILED)
    if not STEP_OPEN.isdisjoint(undone.values()):
        return Undoing()
    left = [
        at
        for at, status in steps.items()
        if status is StepStatus.COMPLETED and snapshot.steps[at].compensation_job and at not in undone
    ]
    if not left:
        return Undoing(end=RunMove.UNDONE)
    deepest = max(snapshot.graph.level[at] for at in left)
    return Undoing(tuple(sorted(at for at in left if snapshot.graph.level[at] == deepest)))
