"""Random workflows: steps of every type, policies, conditions, templates, limits, and where each step has to end.

`Reference` is a second evaluator that knows of no order, no limits, no time and no crash: a step's end follows from the
ends of those before it. What ends a run early (`fail_workflow`, `compensate`) only keeps steps from getting there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from strait_core.workflow.definition import OnFailure, StepSpec, StepType, WorkflowSpec, step_of
from strait_core.workflow.validate import faults_of

MISSING: Final = object()
FATAL: Final = frozenset({OnFailure.FAIL_WORKFLOW, OnFailure.COMPENSATE})
KINDS: Final = ("job",) * 6 + ("sleep", "approval", "wait_for_event", "sub_workflow")
INNER: Final = ("inner", "inner", "inner-limited", "inner-deep")
GENTLE: Final = ("continue", "skip_dependents")
# Bytes that a workflow is drawn from: about what 60 steps take. Five workflows are the most that Hypothesis takes.
DRAWN: Final = 780
# How a step of each kind may end when its turn comes; `refused` is a job that takes no runs.
FATES: Final = {
    "job": ("completed",) * 8 + ("failed", "failed", "refused"),
    "sleep": ("completed",),
    "approval": ("completed", "completed", "failed", "late"),
    "wait_for_event": ("completed", "completed", "late", "canceled"),
    "sub_workflow": ("completed", "completed", "failed"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A step, and what will become of it.

    `condition` is what its condition asks, as (kind, about which step, …); `reads` the step whose output its payload
    names, and whether there is a default; `emitter` the step whose event it waits for.
    """

    step: StepSpec
    number: int
    fate: str
    condition: tuple[Any, ...] | None = None
    reads: tuple[str, bool] | None = None
    emitter: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Story:
    """A workflow and how its steps will end, by ref; `chance` decides the order of everything else."""

    plans: dict[str, Plan]
    spec: WorkflowSpec
    disabled: frozenset[str]
    undo_fails: frozenset[str]
    chance: random.Random

    def __repr__(self) -> str:
        """Short: Hypothesis shows what it has found, and warns of pages instead of telling what went wrong."""
        return f"<a story of {len(self.plans)} steps>"

    @property
    def disabled_steps(self) -> list[int]:
        return [at for at, step in enumerate(self.spec.steps) if step.step_ref in self.disabled]


@dataclass(slots=True)
class Reference:
    """Where every step ends if no failure ends the run, by recursion over those before it."""

    story: Story
    found: dict[str, str] = field(default_factory=dict)
    onward: set[str] = field(default_factory=set)

    def everywhere(self) -> dict[str, str]:
        return {ref: self.where(ref) for ref in self.story.plans}

    def where(self, ref: str) -> str:
        if ref not in self.found:
            self.found[ref] = self._judged(self.story.plans[ref])
        return self.found[ref]

    def fatal(self) -> set[str]:
        return {ref for ref, plan in self.story.plans.items() if plan.step.on_failure in FATAL and self._failed(ref)}

    def output(self, ref: str) -> Any:
        """What a step puts out; null when it has not completed."""
        plan = self.story.plans[ref]
        if self.where(ref) != "completed":
            return None
        if plan.emitter is not None:
            return self.output(plan.emitter)
        made = {"n": plan.number} if plan.step.step_type in {StepType.JOB, StepType.WAIT_FOR_EVENT} else None
        return made if plan.step.output_transform is None else (made or {}).get(plan.step.output_transform[2:])

    def _judged(self, plan: Plan) -> str:
        if any(self._blocks(one) for one in plan.step.depends_on):
            self.onward.add(plan.step.step_ref)
            return "skipped"
        if plan.step.step_ref in self.story.disabled:
            return "skipped"
        holds = self._holds(plan.condition)
        if not holds:
            return "skipped" if holds is False else "failed"
        if plan.reads is not None and not plan.reads[1] and self._number(plan.reads[0]) is MISSING:
            return "failed"
        fate = plan.fate if plan.emitter is None else self.where(plan.emitter)
        return "completed" if fate == "completed" else "failed"

    def _failed(self, ref: str) -> bool:
        return self.where(ref) == "failed"

    def _blocks(self, ref: str) -> bool:
        skips = self._failed(ref) and self.story.plans[ref].step.on_failure is OnFailure.SKIP_DEPENDENTS
        return skips or ref in self.onward

    def _holds(self, condition: tuple[Any, ...] | None) -> bool | None:
        """Whether a condition holds; None = it cannot be answered."""
        match condition:
            case None:
                return True
            case ("go", said):
                return bool(said)
            case ("status", ref, statuses):
                return self.where(ref) in statuses
            case ("exists", ref):
                return self._number(ref) is not MISSING
            case ("over", ref, bound, default):
                number = self._number(ref) if default is None or self._number(ref) is not MISSING else default
                return None if number is MISSING else number > bound
            case _:
                raise AssertionError(condition)

    def _number(self, ref: str) -> Any:
        """What `{{steps.REF.output.n}}` leads to."""
        made = self.output(ref)
        return made.get("n", MISSING) if isinstance(made, dict) else MISSING


class Drawing:
    """One workflow in the making: edges lead back only, everything else as it comes.

    It comes from bytes that Hypothesis draws all at once: a choice of its own for each of the 200 took as long as the
    playing. When they are used up, and in what Hypothesis makes smaller, the first of the possibilities is taken.
    """

    def __init__(self, drawn: bytes, most: int) -> None:
        self.drawn = iter(drawn)
        self.chance = random.Random(bytes(self.below(256) for _ in range(4)))
        self.count = 1 + self.below(self.pick((12, 12, most)))
        self.policies = GENTLE if self.below(3) else (*GENTLE, *GENTLE, "fail_workflow", "compensate")
        self.plans: dict[str, Plan] = {}
        self.above: dict[str, set[str]] = {}

    def below(self, count: int) -> int:
        return next(self.drawn, 0) % count

    def often(self, percent: int) -> bool:
        return self.below(100) >= 100 - percent

    def pick(self, some: Sequence[Any]) -> Any:
        return some[self.below(len(some))]

    def story(self) -> Story:
        for at in range(self.count):
            plan = self._plan(at)
            self.plans[plan.step.step_ref] = plan
        refs = list(self.plans)
        disabled = frozenset(ref for ref in refs[1:] if self.often(5))
        order = self.chance.sample(refs, len(refs))
        steps = tuple(self.plans[ref].step for ref in order)
        spec = WorkflowSpec("p", "w", "w", steps, max_parallel_steps=self.pick((None, None, 1, 3)))
        assert faults_of(spec) == []
        return Story(self.plans, spec, disabled, frozenset(ref for ref in refs if self.often(5)), self.chance)

    def _plan(self, at: int) -> Plan:
        ref, kind = f"s{at}", self.pick(KINDS)
        earliest = 0 if self.often(20) else max(0, at - 6)
        before = {f"s{earliest + self.below(at - earliest)}" for _ in range(self.pick((0, 1, 1, 2, 3)) if at else 0)}
        above = self.above[ref] = before.union(*(self.above[one] for one in before))
        known = sorted(above)
        fate, reads, emitter = self.pick(FATES[kind]), None, None
        step: dict[str, Any] = {"step_ref": ref, "step_type": StepType(kind), "depends_on": sorted(before)}
        step["on_failure"] = OnFailure(self.pick(self.policies))
        if kind in {"job", "sub_workflow"}:
            reads = (self.pick(known), self.often(50)) if known and self.often(25) else None
            step |= self._work(kind, fate, reads)
        if kind == "job":
            step |= self._job(at, fate)
        if kind == "sleep":
            step["sleep_duration"] = f"{self.pick((1, 2, 5))}s"
        if kind == "approval":
            step["approval_timeout_secs"] = 4 if fate == "late" else None
        if kind == "wait_for_event":
            emitters = [one for one in known if self.plans[one].step.event_emit_key]
            emitter = self.pick(emitters) if emitters else None
            step["event_timeout_secs"] = 4 if fate == "late" or emitter else None
            step["event_key"] = f"{'e' if emitter else 'k'}-{emitter or ref}-{{{{run.id}}}}"
        condition = self._condition(known) if self.often(30) else None
        step["condition"] = tree_of(condition)
        return Plan(step_of(step), at, fate, condition, reads, emitter)

    def _work(self, kind: str, fate: str, reads: tuple[str, bool] | None) -> dict[str, Any]:
        payload: dict[str, Any] = {"fate": fate} if kind == "sub_workflow" else {}
        if reads is not None:
            payload["x"] = f"{{{{steps.{reads[0]}.output.n{' | default(null)' if reads[1] else ''}}}}}"
        made: dict[str, Any] = {"payload": msgspec.Raw(msgspec.json.encode(payload))} if payload else {}
        if kind == "sub_workflow":
            made["sub_workflow"] = self.pick(INNER)
        if self.often(15):
            made["concurrency_key"] = self.pick(("k", "l"))
        return made | ({"compensation_job": "undo"} if self.often(40) else {})

    def _job(self, at: int, fate: str) -> dict[str, Any]:
        made: dict[str, Any] = {"job_id": "off" if fate == "refused" else "a"}
        if self.often(15):
            made["output_transform"] = self.pick(("$.n", "$.zz"))
        if self.often(15):
            made["event_emit_key"] = f"e-s{at}-{{{{run.id}}}}"
        return made

    def _condition(self, known: Sequence[str]) -> tuple[Any, ...]:
        kind = self.pick(("go", "status", "status", "exists", "over")) if known else "go"
        match kind:
            case "go":
                return ("go", self.often(50))
            case "status":
                return ("status", self.pick(known), self.pick((("completed",), ("failed", "skipped"), ("skipped",))))
            case "exists":
                return ("exists", self.pick(known))
            case _:
                return ("over", self.pick(known), self.below(21), self.pick((None, -1, 50)))


def tree_of(condition: tuple[Any, ...] | None) -> Any:
    """The same as a step says it."""
    match condition:
        case None:
            return None
        case ("go", said):
            return {"type": "eq", "left": "{{payload.go}}", "right": "now" if said else "never"}
        case ("status", ref, statuses):
            return {"type": "step_status_in", "step_ref": ref, "statuses": list(statuses)}
        case ("exists", ref):
            return {"type": "exists", "operand": f"{{{{steps.{ref}.output.n}}}}"}
        case ("over", ref, bound, default):
            other = "" if default is None else f" | default({default})"
            return {"type": "gt", "left": f"{{{{steps.{ref}.output.n{other}}}}}", "right": bound}
        case _:
            raise AssertionError(condition)


@st.composite
def stories(draw: st.DrawFn, most: int = 60) -> Story:
    """A random workflow of at most so many steps."""
    return Drawing(draw(st.binary(min_size=DRAWN, max_size=DRAWN)), most).story()
