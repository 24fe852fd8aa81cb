"""Random histories from several connections: after each step the database is as the model says, and no invariant breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from strait_core.job import VersionPolicy
from strait_core.run import REPLAYABLE, Outcome, OutcomeKind
from strait_core.store.queue import Claim, Claimed, Retry
from strait_daemon.embedded import PostgresServer
from tests.model.acts import Acts
from tests.model.reference import Job, Reference
from tests.model.world import Step, World, expected
from tests.support.figures import Figures
from tests.support.postgres import create_database, drop_database, unique_name
from tests.support.sizes import SEED, size

STEPS = size(ci=2_000, soak=200_000)
PER_EXAMPLE = size(ci=60, soak=150)
# Checked this often within an example, and at its end.
INVARIANTS_EVERY = 25
WORKERS = [UUID(int=n) for n in (1, 2, 3)]
OUTCOMES = [*(Outcome(kind) for kind in OutcomeKind), Outcome(OutcomeKind.ERROR, final=True)]
CAPS = {VersionPolicy.LATEST: None, VersionPolicy.PIN: 2}
# What must have happened: a model test that never gets anywhere would pass too.
WAYS = {
    "trigger",
    "claim",
    "start",
    "end",
    "drain",
    "release",
    "system_fail",
    "cancel",
    "replay",
    "promote",
    "expire",
    "reap",
}
FORWARD = ["trigger", "claim", "claim", "start", "start", "end", "end"]
AROUND = ["promote", "promote", "expire", "reap", "fold", "heartbeat", "pause", "edit", "edit", "delete"]
T = TypeVar("T")


@dataclass
class Dice:
    """Choices for one rule. Always as many draws, whatever there is to choose from: how two moves at once end is chance,
    and an example has to draw the same when it is repeated.
    """

    thrown: bytes
    at: int = 0

    def number(self) -> int:
        """From 0 to 255, each time another."""
        self.at += 1
        return self.thrown[self.at % len(self.thrown)]

    def of(self, things: Sequence[T]) -> T:
        """One of them; mostly the first when Hypothesis makes it simple."""
        return things[self.number() % len(things)]

    def rarely(self) -> bool:
        """One time in ten."""
        return self.number() % 10 == 9

    def newest(self, held: Sequence[T]) -> T:
        """One of the last few, or now and then any: long lost by whoever believes to hold it."""
        return self.of(held[-4:] if self.number() % 3 else held)

    def batch(self, held: Sequence[Claimed]) -> list[Claimed]:
        """A few claims of different runs."""
        picked = [self.newest(held) for _ in range(1 + self.number() % 4)]
        return list({one.id: one for one in picked}.values())


dice = st.binary(min_size=24, max_size=24).map(Dice)


def check_claim(model: Reference, claim: Claim, slots: int, now: datetime) -> None:
    """The best that may be claimed, in order, without those whose time to live is over; entries on their way to their
    own lane may be passed over.
    """
    best = [run.id for run in model.claimable()]
    late = {run_id for run_id in best if model.runs[run_id].late(now)}
    taken = [run.id for run in claim.runs]
    if not claim.moved:
        assert taken == [run_id for run_id in best[:slots] if run_id not in late]
    assert late.isdisjoint(taken)
    assert len(taken) <= slots
    assert taken == [run_id for run_id in best if run_id in set(taken)]
    for one in claim.runs:
        run = model.runs[one.id]
        assert (one.attempt, one.attempt_base, one.max_attempts) == (run.attempt, run.base, run.most)
        assert one.priority == run.priority


class Life(RuleBasedStateMachine):
    """Everything that may happen to runs, in any order. Few rules with many kinds each: every kind is then frequent."""

    world: ClassVar[World]
    taken: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Reference()
        self.acts = Acts(self.world)
        self.steps = 0
        # Claims and open attempts as their workers know them: some are long lost, which is the point.
        self.claims: list[Claimed] = []
        self.opened: list[Claimed] = []
        self.world.do(self.world.begin_again())

    @initialize()
    def begin(self):
        """Two jobs: the runs of one follow its newest version, those of the other keep theirs and are capped."""
        for policy in (VersionPolicy.LATEST, VersionPolicy.PIN):
            self.make_job(policy)

    def make_job(self, policy: VersionPolicy) -> None:
        cap = CAPS[policy]
        made = self.world.scene.job(slug=f"job-{len(self.model.jobs)}", version_policy=policy, max_concurrency=cap)
        job = self.world.do(made)
        self.model.jobs[job.id] = Job(job.id, latest=policy is VersionPolicy.LATEST, cap=cap)

    def agree(self, what: str, *, ordered: bool = True, before: int = 0) -> None:
        """The database is as the model; of places taken after `before` the order may be the database's own."""
        self.steps += 1
        self.taken[what] += 1
        self.world.scene.later(milliseconds=1)
        state, ready = self.world.do(self.world.seen())
        wanted, order = expected(self.model)
        assert state == wanted, what
        if not ordered:
            self.model.adopt(ready, before)
            order = expected(self.model)[1]
        assert ready == order, what
        if self.steps % INVARIANTS_EVERY == 0:
            assert self.world.do(self.world.scene.broken()) == []

    def take(self, step: Step, *, ordered: bool = True) -> Any:
        """Do one step on a connection; the answer, which is the model's."""
        before = self.model.places
        wanted = step.expect(self.model)
        given = self.world.do(step.act(self.world.conn()))
        assert given == wanted, step.name
        self.agree(f"{step.name}: {'done' if given else 'refused'}", ordered=ordered, before=before)
        return given

    def teardown(self) -> None:
        assert self.world.do(self.world.scene.broken()) == []

    # -- a run's own way --------------------------------------------------------------------------------------------

    @rule(kinds=st.lists(st.sampled_from(FORWARD), min_size=1, max_size=4), dice=dice)
    def forward(self, kinds, dice):
        """Trigger, claim, start or end; whatever comes before it where there is nothing for it yet."""
        for kind in kinds:
            self.go(kind, dice)

    def go(self, kind: str, dice: Dice) -> None:
        if kind == "end" and self.opened:
            self.take(self.acts.end(dice.newest(self.opened), dice.of(OUTCOMES), 1 + dice.number() % 60))
        elif kind in {"start", "end"} and self.claims:
            batch = dice.batch(self.claims)
            done = self.take(self.acts.start(batch))
            self.opened += [held._replace(attempt=held.attempt + 1) for held in batch if held.id in done]
        elif kind != "trigger" and self.model.claimable():
            self.claim(dice.of(WORKERS), 1 + dice.number() % 6)
        else:
            self.trigger(dice)

    def trigger(self, dice: Dice) -> None:
        """Trigger runs of one job, perhaps later, perhaps by a definition that is old, perhaps once only."""
        # The newest ones mostly: those before them have been deleted.
        known = list(self.model.jobs)
        job = dice.of(known) if dice.rarely() else dice.of(known[-2:])
        version = self.model.jobs[job].version - dice.rarely()
        once = dice.of([None, None, None, "a", "b"])
        count = 1 if once else 1 + dice.number() % 4
        request: dict[str, Any] = {
            "ahead": dice.of([None, None, None, -5, 20, 40]),
            "ttl": dice.of([None, None, None, 30, 90]),
            "priority": dice.number() % 4,
            "most": 1 + dice.number() % 3,
        }
        self.take(self.acts.trigger(job, version, count, once, **request))

    def claim(self, worker: UUID, slots: int) -> None:
        """Claim; a worker that has been silent reports first, as each does."""
        if worker not in self.model.heard or worker in self.model.silent(self.world.scene.now):
            self.take(self.acts.beat(worker))
        claim = self.world.do(self.world.claim(self.world.conn(), worker, slots))
        now = self.world.scene.now
        check_claim(self.model, claim, slots, now)
        self.model.leased(claim.runs, worker)
        _, ready = self.world.do(self.world.seen())
        assert self.model.passed_over(ready, now) == claim.taken - len(claim.runs)
        self.claims += claim.runs
        self.agree(f"claim: {'some' if claim.runs else 'none'}{', moved' if claim.moved else ''}")

    @rule(kind=st.sampled_from(["drain", "release", "release", "system_fail"]), dice=dice)
    def let_go(self, kind, dice):
        """A worker drains, gives back what it has not started, or cannot dispatch a claim."""
        if kind == "drain" and self.opened:
            self.take(self.acts.drain(dice.newest(self.opened)))
        elif kind == "release" and self.claims:
            self.take(self.acts.release(dice.batch(self.claims)), ordered=False)
        elif self.claims:
            self.take(self.acts.fail_ours(dice.newest(self.claims)))

    # -- from outside -----------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(["cancel", "replay", "replay"]), dice=dice)
    def interfere(self, kind, dice):
        """Cancel or replay runs, in whatever state they are."""
        some = list(self.model.runs)
        if some and kind == "cancel":
            self.take(self.acts.cancel(sorted({dice.newest(some) for _ in range(1 + dice.number() % 3)})))
        elif some:
            over = [run_id for run_id in some if self.model.runs[run_id].status in REPLAYABLE] or some
            self.take(self.acts.replay(dice.of(some) if dice.rarely() else dice.of(over)))

    @rule(kind=st.sampled_from(AROUND), secs=st.sampled_from([0, 0, 1, 5, 20, 70]), dice=dice)
    def around(self, kind, secs, dice):
        """Time passes, and a service ticks, a worker reports, or somebody changes a job."""
        self.world.scene.later(seconds=secs)
        match kind:
            case "promote":
                self.take(self.acts.promote(1 + dice.number() % 5))
            case "expire":
                self.take(self.acts.expire(1 + dice.number() % 5))
            case "reap":
                self.reap()
            case "fold":
                self.take(Step("fold", lambda _: None, self.world.fold))
            case "heartbeat":
                self.take(self.acts.beat(dice.of(WORKERS)))
            case _:
                self.change(kind, dice.of(list(self.model.jobs)[-2:]), dice)

    def change(self, kind: str, job: UUID, dice: Dice) -> None:
        """Change a job; one that is paused or disabled mostly comes back first."""
        known = self.model.jobs[job]
        if kind == "delete":
            if self.take(self.acts.delete(job)):
                self.make_job(VersionPolicy.LATEST if known.latest else VersionPolicy.PIN)
        elif known.paused or kind == "pause":
            self.take(self.acts.pause(job, paused=not known.paused))
        else:
            enabled = not known.enabled or not dice.rarely()
            self.take(self.acts.edit(job, known, enabled=enabled, boost=dice.number() % 3))

    def reap(self) -> None:
        """A reaper looks for dead workers and takes what they held."""
        before = self.model.places
        silent = self.model.silent(self.world.scene.now)
        found = self.world.do(self.world.reap(self.world.conn()))
        assert set(found) == silent
        for worker, taken in found.items():
            assert {row["id"] for row, _ in taken} == self.model.held(worker)
            for row, move in taken:
                due = move.due_at if isinstance(move, Retry) else None
                if due is not None:
                    assert timedelta(seconds=1) <= due - self.world.scene.now <= timedelta(hours=1)
                self.model.recover(row["id"], due, move.priority if isinstance(move, Retry) else 0)
            del self.model.heard[worker]
        self.agree(f"reap: {'some' if any(found.values()) else 'none'}", ordered=False, before=before)

    # -- two at once ------------------------------------------------------------------------------------------------

    @rule(dice=dice)
    def at_once(self, dice):
        """Two moves of one run from two connections at the same time come out like one after the other."""
        if not self.opened:
            return
        held = dice.newest(self.opened)
        kinds = [
            lambda: self.acts.end(held, dice.of(OUTCOMES), 5),
            lambda: self.acts.end(held, Outcome(OutcomeKind.SUCCESS), 5),
            lambda: self.acts.drain(held),
            lambda: self.acts.cancel([held.id]),
            lambda: self.acts.replay(held.id),
        ]
        pair = [dice.of(kinds)() for _ in range(2)]
        answers = self.world.do(self.world.together(pair))
        after = self.world.do(self.world.seen())
        fitting = []
        for order in ((0, 1), (1, 0)):
            model = self.model.copy()
            wanted = {at: pair[at].expect(model) for at in order}
            if ([wanted[0], wanted[1]], expected(model)) == (answers, after):
                fitting.append(model)
        assert fitting, [step.name for step in pair]
        self.model = fitting[0]
        self.agree("two at once: " + " | ".join(sorted(step.name for step in pair)))


@pytest.fixture
def world(postgres_server: PostgresServer, migrated_template: str) -> Iterator[World]:
    """A database of its own, and connections to it."""
    name = unique_name()
    url = create_database(postgres_server, name, migrated_template)
    with asyncio.Runner() as runner:
        opened = World.open(runner, url)
        yield opened
        opened.close()
    drop_database(postgres_server, name)


@pytest.mark.slow
@pytest.mark.soak
def test_every_history_is_as_the_model_says(world: World, figures: Figures):
    """At least 2,000 random steps (200,000 in a soak), the whole state compared after each of them."""
    Life.world, Life.taken = world, Counter()
    done: set[str] = set()
    drawn = settings(max_examples=20, stateful_step_count=PER_EXAMPLE, database=None, derandomize=False)
    # How many steps an example takes is for Hypothesis to say; and on it goes until each kind has been taken with effect.
    for number in count(SEED * 1_000_000):
        run_state_machine_as_test(seed(number)(Life), settings=drawn)
        done = {what.partition(":")[0] for what in Life.taken if what.endswith(("done", "some"))}
        if Life.taken.total() >= STEPS and (done >= WAYS or Life.taken.total() > 3 * STEPS):
            break
    figures.note("model: steps compared", Life.taken.total(), *(f"{what} {n}," for what, n in Life.taken.most_common()))
    assert done >= WAYS
