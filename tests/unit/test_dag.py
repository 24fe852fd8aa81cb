"""What a workflow run does next: compared with a second evaluator that knows of no order, limits or changes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core.workflow import states
from strait_core.workflow.dag import Decisions, Fail, Fault, Ready, Reason, Skip, Start, State, Wanted, advance, undo
from strait_core.workflow.definition import OnFailure, StepSpec, WorkflowSpec
from strait_core.workflow.snapshot import Snapshot, snapshot_of
from strait_core.workflow.states import RunMove, RunStatus, StepMove, StepStatus

DONE, FAILED, SKIPPED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED


@dataclass
class World:
    """A workflow, what its conditions say, how its steps end, and what its limits are."""

    steps: Sequence[StepSpec]
    false: frozenset[int] = frozenset()
    faulty: frozenset[int] = frozenset()
    fails: frozenset[int] = frozenset()
    most: int | None = None
    disabled: frozenset[int] = frozenset()
    known: set[int] = field(default_factory=set)

    @property
    def snapshot(self) -> Snapshot:
        return snapshot_of(WorkflowSpec("p", "w", "w", tuple(self.steps), max_parallel_steps=self.most))

    def judge(self, at: int, _: Mapping[int, StepStatus]) -> bool | Fault | Wanted:
        """Outputs are asked for once, to show that asking changes nothing."""
        if at not in self.known:
            return Wanted(frozenset({at}))
        return at not in self.false

    def prepare(self, at: int, _: Mapping[int, StepStatus]) -> Ready | Fault | Wanted:
        return Fault("template", "nothing there") if at in self.faulty else Ready()


def reference(world: World) -> dict[int, StepStatus]:
    """Where every step would be, if no failure ended the run: by recursion over the dependencies alone."""
    index = {step.step_ref: at for at, step in enumerate(world.steps)}
    found: dict[int, StepStatus] = {}
    onward: set[int] = set()

    def where(at: int) -> StepStatus:
        if at in found:
            return found[at]
        before = [index[ref] for ref in world.steps[at].depends_on]
        statuses = [where(one) for one in before]
        blocks = [
            one in onward or (status is FAILED and world.steps[one].on_failure is OnFailure.SKIP_DEPENDENTS)
            for one, status in zip(before, statuses, strict=True)
        ]
        if any(blocks):
            onward.add(at)
            found[at] = SKIPPED
        elif at in world.disabled or at in world.false:
            found[at] = SKIPPED
        else:
            found[at] = FAILED if at in world.faulty | world.fails else DONE
        return found[at]

    for at in range(len(world.steps)):
        where(at)
    return found


def is_fatal(world: World, found: Mapping[int, StepStatus]) -> bool:
    """Whether some failure would end the run."""
    ends = {OnFailure.FAIL_WORKFLOW, OnFailure.COMPENSATE}
    return any(status is FAILED and world.steps[at].on_failure in ends for at, status in found.items())


@dataclass
class Engine:
    """Carries out decisions in memory, as the store does."""

    world: World
    statuses: dict[int, StepStatus] = field(default_factory=dict)
    onward: set[int] = field(default_factory=set)
    end: RunMove | None = None
    started: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.snapshot = self.world.snapshot

    def go_on(self, changed: set[int] | None) -> None:
        while True:
            state = State(dict(self.statuses), frozenset(self.onward), self.world.disabled)
            found = advance(self.snapshot, state, changed, judge=self.world.judge, prepare=self.world.prepare)
            if not found.wanted:
                break
            assert (found.steps, found.end) == ([], None)
            self.world.known |= found.wanted
        for step in found.steps:
            assert self.statuses.get(step.step, StepStatus.PENDING) is StepStatus.PENDING
            match step:
                case Start(at, _):
                    self.started.append(at)
                    self.statuses[at] = StepStatus.RUNNING
                case Skip(at, _):
                    self.statuses[at] = SKIPPED
                    self.onward |= {at} if step.onward else set()
                case Fail(at, _):
                    self.statuses[at] = FAILED
        self.end = found.end

    def running(self) -> list[int]:
        return [at for at, status in self.statuses.items() if status is StepStatus.RUNNING]

    def run(self, order: random.Random) -> None:
        """End what runs in any order, several at once, until the run is over."""
        self.go_on(None)
        while self.end is None:
            running = sorted(self.running())
            assert running, "nothing runs, and the run is not over: it has stalled"
            if self.world.most is not None:
                assert len(running) <= self.world.most
            batch = set(order.sample(running, order.randint(1, len(running))))
            for at in batch:
                self.statuses[at] = FAILED if at in self.world.fails else DONE
            self.go_on(batch)


@st.composite
def worlds(draw: st.DrawFn, most: int = 14) -> World:
    """A random workflow: edges lead back only, everything else as it comes."""
    count = draw(st.integers(1, most))
    indexes = st.sets(st.integers(0, count - 1)).map(frozenset)
    steps = [
        StepSpec(
            f"s{at}",
            job_id="a",
            depends_on=tuple(f"s{one}" for one in sorted(draw(st.sets(st.integers(0, at - 1), max_size=4))))
            if at
            else (),
            on_failure=draw(st.sampled_from([*OnFailure, OnFailure.CONTINUE, OnFailure.SKIP_DEPENDENTS])),
            concurrency_key=draw(st.sampled_from([None, None, "k"])),
        )
        for at in range(count)
    ]
    order = draw(st.permutations(range(count)))
    return World(
        [steps[at] for at in order],
        false=draw(indexes),
        faulty=draw(st.sampled_from([frozenset(), draw(indexes)])),
        fails=draw(indexes),
        most=draw(st.sampled_from([None, 1, 3])),
        disabled=draw(st.sampled_from([frozenset(), draw(indexes)])),
    )


@given(worlds(), st.randoms(use_true_random=False))
def test_the_engine_agrees_with_the_reference(world: World, order: random.Random) -> None:
    """In any order of endings: no stall, each step started once, and every step where the reference has it."""
    engine = Engine(world)
    engine.run(order)
    wanted = reference(world)
    assert len(engine.started) == len(set(engine.started))
    if is_fatal(world, wanted):
        assert engine.end in {RunMove.FAIL, RunMove.COMPENSATE}
        over = {at: status for at, status in engine.statuses.items() if status is not StepStatus.RUNNING}
        assert over.items() <= wanted.items()
    else:
        assert (engine.end, engine.statuses) == (RunMove.COMPLETE, wanted)


@given(worlds(), st.randoms(use_true_random=False))
def test_a_look_at_everything_finds_nothing_more(world: World, order: random.Random) -> None:
    """What follows from a change is all that follows: a sweep never has anything to do."""
    engine = Engine(world)
    engine.go_on(None)
    while engine.end is None:
        at = order.choice(sorted(engine.running()))
        engine.statuses[at] = FAILED if at in world.fails else DONE
        engine.go_on({at})
        if engine.end is None:
            before = dict(engine.statuses)
            engine.go_on(None)
            assert (engine.end, engine.statuses) == (None, before)


def test_nothing_happens_in_a_paused_run() -> None:
    """What has ended is noted; only a run with nothing left is over."""
    world = World([StepSpec("a", job_id="a"), StepSpec("b", job_id="a", depends_on=("a",))])
    world.known = {0, 1}

    def look(steps: Mapping[int, StepStatus]) -> Decisions:
        return advance(world.snapshot, State(steps, paused=True), {0}, judge=world.judge, prepare=world.prepare)

    assert look({0: DONE}).steps == []
    assert look({0: FAILED}).end is None
    assert look({0: DONE, 1: SKIPPED}).end is RunMove.COMPLETE


def test_why_steps_are_skipped() -> None:
    """The reason is told; only a failure before it skips onward."""
    world = World(
        [
            StepSpec("a", job_id="a", on_failure=OnFailure.SKIP_DEPENDENTS),
            StepSpec("b", job_id="a", depends_on=("a",)),
            StepSpec("c", job_id="a"),
            StepSpec("d", job_id="a", depends_on=("c",)),
        ],
        false=frozenset({2}),
        disabled=frozenset({3}),
    )
    world.known = set(range(4))
    found = advance(world.snapshot, State({0: FAILED}, disabled={3}), None, judge=world.judge, prepare=world.prepare)
    assert [(step.step, step.reason) for step in found.steps if isinstance(step, Skip)] == [
        (2, Reason.CONDITION), (1, Reason.UPSTREAM), (3, Reason.DISABLED),
    ]  # fmt: skip


@given(worlds(most=10))
def test_a_compensation_goes_level_by_level(world: World) -> None:
    """Every completed step is undone once, and none before all that come after it."""
    steps = tuple(
        StepSpec(s.step_ref, job_id="a", depends_on=s.depends_on, compensation_job="u" if at % 3 else None)
        for at, s in enumerate(world.steps)
    )
    snapshot = snapshot_of(WorkflowSpec("p", "w", "w", steps))
    done = {at: DONE for at in range(len(steps)) if at not in world.fails}
    undone: dict[int, StepStatus] = {}
    while (found := undo(snapshot, done, undone)).end is None:
        assert found.steps
        for at in found.steps:
            assert not {one for one in snapshot.below(at) & done.keys() if steps[one].compensation_job} - undone.keys()
            undone[at] = DONE
    assert found.end is RunMove.UNDONE
    assert undone.keys() == {at for at in done if steps[at].compensation_job}
    assert undo(snapshot, done, {0: StepStatus.RUNNING}).end is None
    assert undo(snapshot, done, {0: FAILED}).end is RunMove.UNDO_FAILED


@pytest.mark.parametrize("at", list(StepStatus))
def test_the_table_of_steps(at: StepStatus) -> None:
    """Whoever is over can only begin anew; whoever is not can be canceled."""
    moves = {move for status, move in states.STEP_MOVES if status is at}
    assert (moves == {StepMove.RESET}) is (at in states.STEP_TERMINAL)
    assert (StepMove.CANCEL in moves) is (at not in states.STEP_TERMINAL)


def test_the_table_of_runs() -> None:
    """Terminal states are those that only a retry or a compensation leaves; a completed run is final."""
    assert {
        RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPENSATING,
    } == frozenset(RunStatus) - states.RUN_TERMINAL  # fmt: skip
    assert {RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.CANCELED} == states.RETRYABLE
    assert states.next_run_status(RunStatus.COMPLETED, RunMove.RETRY) is None
    assert states.next_run_status(RunStatus.RUNNING, RunMove.COMPENSATE) is RunStatus.COMPENSATING
