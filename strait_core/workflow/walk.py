"""A workflow on a virtual clock: what would run when, with assumed outcomes and lengths.

The decisions are the engine's own (`dag.advance`); only what steps come to, and how long they take, is assumed. A walk
may begin anywhere: at the trigger, for a simulation, or where a run stands, for what is left of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from strait_core.duration import parse_duration
from strait_core.workflow import condition
from strait_core.workflow.dag import Fail, Fault, Ready, Skip, Start, State, Wanted, advance, undo
from strait_core.workflow.definition import StepSpec, StepType
from strait_core.workflow.facts import PAYLOAD, Facts
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import STEP_OPEN, RunMove, RunStatus, StepStatus

_ENDS: Final[Mapping[RunMove, RunStatus]] = {
    RunMove.COMPLETE: RunStatus.COMPLETED,
    RunMove.FAIL: RunStatus.FAILED,
    RunMove.COMPENSATE: RunStatus.COMPENSATED,
}
UNKNOWN: Final = "its condition asks for what is not said here: assumed to hold"
# So little that it decides only between ways of the same length, for the one of more steps.
_ANY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a walk takes for granted, by the index of the step; lengths are seconds.

    A step without an outcome completes. `payload` and `outputs` are JSON texts that conditions may ask for; None and
    absent ones are not known.
    """

    secs: Mapping[int, float] = field(default_factory=dict)
    default_secs: float = 0.0
    outcomes: Mapping[int, StepStatus] = field(default_factory=dict)
    payload: str | None = None
    outputs: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stretch:
    """When a step was under way, in seconds from the beginning of the walk, and what it came to."""

    step: int
    begins: float
    ends: float
    status: StepStatus
    note: str | None = None


@dataclass(slots=True)
class Walk:
    """What happens, in order. `status` None: nothing is under way any more, and yet it is not over."""

    stretches: list[Stretch] = field(default_factory=list)
    status: RunStatus | None = None
    total: float = 0.0
    most_at_once: int = 0
    # What a compensation undoes, one level after the other.
    undone: list[tuple[int, ...]] = field(default_factory=list)


def length_of(step: StepSpec, known: float | None) -> float | None:
    """How long a step takes: a sleep what it says, others what is known of them; None = nobody knows."""
    if step.step_type is StepType.SLEEP and step.sleep_duration is not None:
        parsed = parse_duration(step.sleep_duration)
        return None if parsed is None else parsed.total_seconds()
    return known


def walked(snapshot: Snapshot, assumed: Assumed, state: State, elapsed: Mapping[int, float]) -> Walk:
    """What happens from a state on; `elapsed` says for how long the open steps have been so."""
    return _Walker(snapshot, assumed, state, elapsed).go()


def critical_path(snapshot: Snapshot, secs: Mapping[int, float]) -> list[int]:
    """The chain of steps that takes longest; of equal ones that of more steps."""
    return snapshot.graph.longest_path([secs.get(at, 0.0) + _ANY for at in range(len(snapshot.steps))])


class _Walker:
    """One walk."""

    def __init__(self, snapshot: Snapshot, assumed: Assumed, state: State, elapsed: Mapping[int, float]) -> None:
        self.snapshot = snapshot
        self.assumed = assumed
        self.disabled = state.disabled
        self.places = dict(state.steps)
        self.onward = set(state.onward)
        outputs: dict[int, str | None] = {**assumed.outputs, PAYLOAD: assumed.payload or "{}"}
        self.facts = Facts(snapshot, {"id": ""}, outputs)
        self.now = 0.0
        self.found = Walk()
        self.live: dict[int, Stretch] = {}
        self.notes: dict[int, str] = {}
        self.ends: list[tuple[float, int]] = []
        for at, status in state.steps.items():
            if status in STEP_OPEN:
                self._begin(at, elapsed.get(at, 0.0))
        heapify(self.ends)

    def go(self) -> Walk:
        """Step by step until nothing more follows."""
        changed: set[int] | None = None
        while True:
            state = State(self.places, self.onward, self.disabled)
            decided = advance(self.snapshot, state, changed, judge=self._judge, prepare=lambda _at, _statuses: Ready())
            for one in decided.steps:
                self._carry_out(one)
            if decided.end is not None:
                return self._over(_ENDS[decided.end])
            if not self.ends:
                return self._over(None)
            limit = self.snapshot.spec.timeout_secs
            if limit is not None and self.ends[0][0] > limit:
                self.now = float(limit)
                return self._over(RunStatus.TIMED_OUT)
            changed = self._next_ends()

    def _judge(self, at: int, statuses: Mapping[int, StepStatus]) -> bool | Fault | Wanted:
        tree = self.snapshot.steps[at].condition
        verdict = self.facts.judge(at, statuses)
        unsaid = self.assumed.payload is None and tree is not None and _asks_for_payload(tree)
        if isinstance(verdict, Wanted) or unsaid:
            self.notes[at] = UNKNOWN
            return True
        return verdict

    def _carry_out(self, one: Start | Skip | Fail) -> None:
        match one:
            case Start(at):
                step = self.snapshot.steps[at]
                works = step.step_type in {StepType.JOB, StepType.SUB_WORKFLOW}
                self.places[at] = StepStatus.RUNNING if works else StepStatus.WAITING
                self._begin(at, 0.0)
            case Skip(at, reason):
                self._pass(at, StepStatus.SKIPPED, reason.value)
                if one.onward:
                    self.onward.add(at)
            case Fail(at, fault):
                self._pass(at, StepStatus.FAILED, fault.message)

    def _pass(self, at: int, status: StepStatus, note: str) -> None:
        self.places[at] = status
        self.found.stretches.append(Stretch(at, self.now, self.now, status, note))

    def _begin(self, at: int, elapsed: float) -> None:
        known = length_of(self.snapshot.steps[at], self.assumed.secs.get(at))
        length = self.assumed.default_secs if known is None else known
        end = self.now + max(length - elapsed, 0.0)
        stretch = Stretch(at, self.now - elapsed, end, StepStatus.COMPLETED, self.notes.get(at))
        self.live[at] = stretch
        self.found.stretches.append(stretch)
        self.found.most_at_once = max(self.found.most_at_once, len(self.live))
        heappush(self.ends, (end, at))

    def _next_ends(self) -> set[int]:
        """Go on to where the next steps end; which they are."""
        self.now = self.ends[0][0]
        changed = set()
        while self.ends and self.ends[0][0] <= self.now:
            at = heappop(self.ends)[1]
            status = self.assumed.outcomes.get(at, StepStatus.COMPLETED)
            self.places[at] = self.live.pop(at).status = status
            changed.add(at)
        return changed

    def _over(self, status: RunStatus | None) -> Walk:
        for stretch in self.live.values():
            stretch.status, stretch.ends = StepStatus.CANCELED, self.now
        self.found.status, self.found.total = status, self.now
        if status is RunStatus.COMPENSATED:
            undone: dict[int, StepStatus] = {}
            while level := undo(self.snapshot, self.places, undone).steps:
                self.found.undone.append(level)
                undone |= dict.fromkeys(level, StepStatus.COMPLETED)
        return self.found


def _asks_for_payload(tree: object) -> bool:
    return any(one.slot is not None and one.slot.root == "payload" for one in condition.mentions(tree, ""))
