"""Everything that may happen to runs, in any order, one step at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from strait_core.job import VersionPolicy
from strait_core.run import REPLAYABLE, Outcome, OutcomeKind, Status
from strait_core.store.claims import Claim, Claimed
from strait_core.store.queue import Retry
from tests.model.acts import Acts
from tests.model.dice import Dice, dice, wish_of
from tests.model.kinds import (
    AROUND,
    BACKLOG,
    CHANGES,
    EVENTS,
    FINAL,
    FORWARD,
    JOBS,
    OUTCOMES,
    SPEAK,
    SUCCESS,
    WAITING,
    WORKERS,
)  # fmt: skip
from tests.model.parts import LIMIT, Job, Run
from tests.model.reference import Reference
from tests.model.says import OVER, Says
from tests.model.world import Seen, Step, World, differing, expected

# Steps between two looks at the invariants; and one at the end of each example.
INVARIANTS_EVERY = 20


class Life(RuleBasedStateMachine):
    """Few rules with many kinds each: every kind is then frequent."""

    world: ClassVar[World]
    # The steps that were taken, and what else has come about.
    taken: ClassVar[Counter[str]]
    came: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Reference()
        self.acts, self.says = Acts(self.world), Says(self.world)
        self.steps = 0
        # Claims and open attempts as their workers know them: some are long lost, which is the point.
        self.claims: list[Claimed] = []
        self.opened: list[Claimed] = []
        self.world.do(self.world.begin_again())

    @initialize(dice=dice)
    def begin(self, dice):
        """A job of each kind: the runs of some follow its newest version, those of the others keep theirs; some begin."""
        for slug in JOBS:
            self.make_job(slug)
        for kind in ("trigger", "trigger", "trigger", "claim", "claim", "start", "start", "start"):
            self.go(kind, dice)

    def make_job(self, slug: str) -> None:
        given = JOBS[slug]
        job = self.world.do(self.world.scene.job(slug=slug, timeout_secs=int(LIMIT.total_seconds()), **given))
        spec = job.spec
        most, secs = spec.rate_limit_max, spec.rate_limit_window_secs
        self.model.jobs[job.id] = Job(
            job.id,
            slug,
            latest=spec.version_policy is VersionPolicy.LATEST,
            cap=spec.max_concurrency,
            key_cap=spec.max_concurrency_per_key,
            rate=(most, secs) if most and secs else None,
            on_complete=spec.on_complete_trigger_job,
            on_failure=spec.on_failure_trigger_job,
        )

    # -- the database beside the model ------------------------------------------------------------------------------

    def agree(self, what: str, *, ordered: bool = True, before: int = 0) -> None:
        """The database is as the model; of places taken after `before` the order may be the database's own."""
        self.steps += 1
        self.taken[what] += 1
        self.world.scene.later(milliseconds=1)
        seen = self.world.do(self.world.seen())
        self.note(seen)
        assert self.model.well_parked(), what
        wanted = expected(self.model)
        assert seen.state == wanted.state, (what, differing(seen, wanted))
        assert seen.waits == wanted.waits, what
        if not ordered:
            self.model.adopt(seen.ready, before)
            wanted = expected(self.model)
        assert seen.ready == wanted.ready, what
        if self.steps % INVARIANTS_EVERY == 0:
            assert self.world.do(self.world.scene.broken()) == [], what

    def note(self, seen: Seen) -> None:
        """Learn the ids of runs that endings have started, and remember what has come about at all."""
        if any(run.is_unborn for run in self.model.runs.values()):
            self.model.bind(seen.parents)
            self.came["completion trigger: some"] += 1
        self.model.parked = set(seen.parked)
        if seen.parked:
            self.came["park: some"] += 1

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

    @rule(kinds=st.lists(st.sampled_from(FORWARD), min_size=2, max_size=6), dice=dice)
    def forward(self, kinds, dice):
        """Trigger, claim, start or end; whatever comes before it where there is nothing for it yet."""
        for kind in kinds:
            self.go(kind, dice)

    def go(self, kind: str, dice: Dice) -> None:
        if kind == "end" and self.opened:
            step = self.acts.end(self.attempt(dice), dice.of(OUTCOMES), 1 + dice.number() % 60)
            self.take(step, ordered=False)
        elif kind in {"start", "end"} and self.claims:
            batch = dice.batch(self.held(dice, self.claims, Status.DEQUEUED))
            done = self.take(self.acts.start(batch))
            self.opened += [held._replace(attempt=held.attempt + 1) for held in batch if held.id in done]
        elif kind != "trigger" and self.model.claimable(self.world.scene.now):
            self.claim(dice.of(WORKERS), 1 + dice.number() % 6)
        elif kind == "trigger" or sum(run.status is Status.QUEUED for run in self.model.runs.values()) < BACKLOG:
            self.trigger(dice)
        else:
            self.world.scene.later(seconds=5)

    def held(self, dice: Dice, believed: Sequence[Claimed], status: Status) -> Sequence[Claimed]:
        """Claims of which a worker believes that it holds them: mostly those that it does hold."""
        really = [one for one in believed if self.model.runs[one.id].held_by(one, status)]
        return believed if dice.number() % 4 == 0 or not really else really

    def attempt(self, dice: Dice) -> Claimed:
        """An attempt that somebody believes to be live, and mostly it is."""
        return dice.newest(self.held(dice, self.opened, Status.EXECUTING))

    def job_of(self, dice: Dice) -> UUID:
        """A job that is there, or rarely any."""
        known = list(self.model.jobs.values())
        return dice.of(known if dice.rarely() else [job for job in known if not job.deleted]).id

    def trigger(self, dice: Dice) -> None:
        """Trigger runs of one job, perhaps later, perhaps by a definition that is old, perhaps once only."""
        job = self.job_of(dice)
        version = self.model.jobs[job].version - dice.rarely()
        once = dice.of([None, None, None, "a", "b"])
        count = 1 if once else 1 + dice.number() % 4
        self.take(self.acts.trigger(job, version, count, once, wish_of(dice)))

    def claim(self, worker: UUID, slots: int) -> None:
        """Claim; a worker that has been silent reports first, as each does."""
        self.report(worker)
        now = self.world.scene.now
        claim = self.world.do(self.world.claim(self.world.conn(), worker, slots))
        self.check_claim(claim, slots)
        self.pass_over([claim])
        self.model.leased(claim.runs, worker, now)
        self.claims += claim.runs
        self.agree(f"claim: {'some' if claim.runs else 'none'}{', moved' if claim.moved else ''}")

    def report(self, worker: UUID) -> None:
        if worker not in self.model.heard or worker in self.model.silent(self.world.scene.now):
            self.take(self.acts.beat(worker))

    def pass_over(self, claims: Sequence[Claim]) -> None:
        """Runs whose time to live is over have lost their places to these claims."""
        ready = self.world.do(self.world.seen()).ready
        met = sum(claim.taken - len(claim.runs) for claim in claims)
        claimed = {run.id for claim in claims for run in claim.runs}
        assert self.model.passed_over([*ready, *claimed], self.world.scene.now) == met

    def check_claim(self, claim: Claim, slots: int) -> None:
        """The best that may be claimed, in order, without those whose time to live is over; entries on their way to
        their own lane may be passed over.
        """
        now = self.world.scene.now
        taken = [run.id for run in claim.runs]
        if not claim.moved:
            assert taken == [run.id for run in self.model.claimable(now)[:slots] if not run.late(now)]
        assert len(taken) <= slots
        self.check_taken(claim.runs)
        places = [(-run.priority, run.place or 0) for run in (self.model.runs[run_id] for run_id in taken)]
        assert places == sorted(places)

    def check_taken(self, claimed: Sequence[Claimed]) -> None:
        """All of them together are within every limit, and as their rows say."""
        assert self.model.fit([one.id for one in claimed], self.world.scene.now)
        for one in claimed:
            run = self.model.runs[one.id]
            assert (one.attempt, one.attempt_base, one.max_attempts) == (run.attempt, run.base, run.most)
            assert one.priority == run.priority

    @rule(kind=st.sampled_from(["drain", "release", "release", "system_fail"]), dice=dice)
    def let_go(self, kind, dice):
        """A worker drains, gives back what it has not started, or cannot dispatch a claim."""
        if kind == "drain" and self.opened:
            self.take(self.acts.drain(self.attempt(dice)), ordered=False)
        elif self.claims:
            believed = self.held(dice, self.claims, Status.DEQUEUED)
            if kind == "release":
                self.take(self.acts.release(dice.batch(believed)), ordered=False)
            else:
                self.take(self.acts.fail_ours(dice.newest(believed)), ordered=False)

    # -- what endpoints say -----------------------------------------------------------------------------------------

    @rule(kinds=st.lists(st.sampled_from(SPEAK), min_size=1, max_size=3), dice=dice)
    def speak(self, kinds, dice):
        """An endpoint waits, makes runs, accepts, lives, or ends its attempt; one that has lost it hears so."""
        for kind in kinds if self.opened else ():
            self.speaks(kind, dice)

    def speaks(self, kind: str, dice: Dice) -> None:
        waiting = [held for held in self.opened if self.is_waiting(held)] if kind in {"complete", "fail"} else []
        held = dice.of(waiting) if waiting else self.attempt(dice)
        told = self.take(self.said(kind, held, dice), ordered=False)
        if kind in WAITING and told and dice.number() % 3:
            self.take(self.acts.end(held, SUCCESS, 5), ordered=False)
        if kind == "accept" and told and dice.number() % 2:
            self.take(self.says.beat_run(held))

    def is_waiting(self, held: Claimed) -> bool:
        run = self.model.runs[held.id]
        return (run.status, run.attempt) == (Status.WAITING, held.attempt)

    def said(self, kind: str, held: Claimed, dice: Dice) -> Step:
        match kind:
            case "wait event":
                return self.says.wait_event(held, dice.of(EVENTS), 10 + dice.number() % 60)
            case "wait run":
                return self.says.wait_child(held, dice.newest(list(self.model.runs)))
            case "spawn" | "spawn and wait":
                job = self.job_of(dice)
                new, made = self.acts.new_run(job, self.model.jobs[job].version, wish_of(dice))
                return self.says.spawn(held, new, made, is_awaited=kind == "spawn and wait")
            case "accept" | "beat":
                return self.says.accept(held) if kind == "accept" else self.says.beat_run(held)
            case _:
                outcome = SUCCESS if kind == "complete" else dice.of([FINAL, Outcome(OutcomeKind.ERROR)])
                return self.says.say(held, outcome, 1 + dice.number() % 60)

    # -- from outside -----------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(["cancel", "replay", "replay", "reschedule"]), dice=dice)
    def interfere(self, kind, dice):
        """Cancel, replay or reschedule runs, in whatever state they are."""
        some = list(self.model.runs)
        if not some:
            return
        if kind == "cancel":
            self.take(self.acts.cancel(sorted({dice.newest(some) for _ in range(1 + dice.number() % 3)})))
            return
        fit = {"replay": self.is_replayable, "reschedule": lambda run: run.due is not None}[kind]
        best = [run_id for run_id in some if fit(self.model.runs[run_id])] or some
        run_id = dice.of(some) if dice.rarely() else dice.of(best)
        self.take(
            self.acts.replay(run_id) if kind == "replay" else self.acts.reschedule(run_id, dice.number() % 90 - 20)
        )

    @staticmethod
    def is_replayable(run: Run) -> bool:
        return run.status in REPLAYABLE

    @rule(kind=st.sampled_from(AROUND), secs=st.sampled_from([0, 0, 1, 5, 20, 70]), dice=dice)
    def around(self, kind, secs, dice):
        """Time passes, and a service ticks, a worker reports, or an event comes."""
        self.world.scene.later(seconds=secs)
        if self.is_pending(kind):
            self.world.scene.later(seconds=dice.of([0, 30, 70, 110]))
        match kind:
            case "reap":
                self.reap()
            case "lapse":
                self.lapse()
            case "promote" | "expire":
                self.sweep(kind, 1 + dice.number() % 5)
            case "heartbeat":
                self.take(self.acts.beat(dice.of(WORKERS)))
            case "send" | "cancel event":
                step = self.says.send if kind == "send" else self.says.cancel_event
                self.take(step(dice.of(EVENTS)), ordered=False)
            case "resume":
                self.take(self.says.resume(), ordered=False)
            case "time out":
                self.take(self.says.time_out(), ordered=False)
            case _:
                self.take(self.acts.fold() if kind == "fold" else self.acts.unpark())

    def is_pending(self, kind: str) -> bool:
        """Whether there is something that this service would do later."""
        runs = self.model.runs.values()
        held = any(run.worker for run in runs) if kind == "reap" else any(run.deadline for run in runs)
        waits = any(run.status is Status.WAITING for run in runs)
        return held if kind in {"reap", "lapse"} else waits if kind == "time out" else False

    @rule(kind=st.sampled_from(CHANGES), dice=dice)
    def change(self, kind, dice):
        """Change a job; one that is paused or disabled mostly comes back first."""
        known = self.model.jobs[self.job_of(dice)]
        if kind == "delete":
            if self.take(self.acts.delete(known.id)):
                self.make_job(known.slug)
        elif known.paused or kind == "pause":
            self.take(self.acts.pause(known.id, paused=not known.paused))
        else:
            enabled = not known.enabled or not dice.rarely()
            limits = {"capped": "cap", "keyed": "key_cap"}
            name = limits.get(known.slug, "boost") if kind == "limits" else "boost"
            value = dice.number() % 3 if name == "boost" else dice.of([None, 1, 1, 2, 3])
            self.take(self.acts.edit(known, enabled=enabled, **{name: value}))

    def sweep(self, kind: str, most: int) -> None:
        """What is due comes back, or what has waited too long ends: the earliest of them, whichever of those at one time."""
        before, now = self.model.places, self.world.scene.now
        act = self.world.promote if kind == "promote" else self.world.expire
        given = self.world.do(act(self.world.conn(), most))
        over = self.model.due(now) if kind == "promote" else self.model.stale(now)
        assert sorted(over[run_id] for run_id in given) == self.earliest(over, most, apart=kind == "promote")
        # Of what comes back, retries stand before delayed runs.
        found = sorted(given, key=lambda run_id: (self.model.runs[run_id].status is Status.DELAYED, over[run_id]))
        if kind == "promote":
            self.model.promote(found)
        else:
            self.model.expire(found, now)
        tied = len(set(over.values())) < len(over)
        self.agree(f"{kind}: {'done' if found else 'none'}", ordered=not tied, before=before)

    def earliest(self, over, most: int, *, apart: bool):
        """The earliest times; `apart`: so many of delayed runs and so many of retries."""
        delayed = [at for run_id, at in over.items() if apart and self.model.runs[run_id].status is Status.DELAYED]
        others = [at for run_id, at in over.items() if not (apart and self.model.runs[run_id].status is Status.DELAYED)]
        return sorted([*sorted(delayed)[:most], *sorted(others)[:most]])

    def reap(self) -> None:
        """A reaper looks for dead workers and takes what they held."""
        before, now = self.model.places, self.world.scene.now
        silent = self.model.silent(now)
        found = self.world.do(self.world.reap(self.world.conn()))
        assert set(found) == silent
        for worker, taken in found.items():
            assert {row["id"] for row, _ in taken} == self.model.held(worker)
            for row, move in taken:
                due = move.due_at if isinstance(move, Retry) else None
                if due is not None:
                    assert timedelta(seconds=1) <= due - now <= timedelta(hours=1)
                self.model.recover(row["id"], due, move.priority if isinstance(move, Retry) else 0, now)
            del self.model.heard[worker]
        self.agree(f"reap: {'some' if any(found.values()) else 'none'}", ordered=False, before=before)

    def lapse(self) -> None:
        """Accepted attempts end whose time is over or whose endpoints have fallen silent."""
        before, now = self.model.places, self.world.scene.now
        found = self.world.do(self.says.lapse(self.world.conn()))
        assert {run_id: why for run_id, (why, _) in found.items()} == self.model.lapsed(now)
        for run_id, (why, move) in found.items():
            due, priority = (move.due_at, move.priority) if isinstance(move, Retry) else (None, 0)
            self.model.close(self.model.runs[run_id], OVER[why], due, priority, now)
            self.came[f"lapse by {why}: done"] += 1
        self.agree(f"lapse: {'some' if found else 'none'}", ordered=False, before=before)
