"""Two moves at the same time, from two connections."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis.stateful import rule

from tests.model.dice import dice
from tests.model.kinds import EVENTS, OUTCOMES, SUCCESS, WORKERS
from tests.model.life import Life
from tests.model.world import Step, expected

__all__ = ["Twice"]


class Twice(Life):
    """Adds to everything that may happen one after the other what may happen at once."""

    @rule(dice=dice)
    def at_once(self, dice):
        """Two moves of one run from two connections at the same time come out like one after the other."""
        if not self.opened:
            return
        held = self.attempt(dice)
        kinds = [
            lambda: self.acts.end(held, dice.of(OUTCOMES), 5),
            lambda: self.acts.end(held, SUCCESS, 5),
            lambda: self.acts.drain(held),
            lambda: self.acts.cancel([held.id]),
            lambda: self.acts.replay(held.id),
            lambda: self.said(dice.of(["wait event", "wait run", "spawn", "spawn and wait", "accept"]), held, dice),
            lambda: self.says.send(dice.of(EVENTS)),
            lambda: self.says.cancel_event(dice.of(EVENTS)),
            self.says.time_out,
        ]
        self.compare([dice.of(kinds)() for _ in range(2)])

    def compare(self, pair: Sequence[Step]) -> None:
        """Take both at the same time; there is an order in which the model answers and becomes the same.

        Whoever might go on is looked at once more, as a service does within a second.
        """
        before = self.model.places
        settle = self.says.resume()
        answers = self.world.do(self.world.together(pair))
        self.world.do(settle.act(self.world.conn()))
        after = self.world.do(self.world.seen())
        fitting = []
        for order in ((0, 1), (1, 0)):
            model = self.model.copy()
            wanted = {at: pair[at].expect(model) for at in order}
            settle.expect(model)
            model.bind(after.parents)
            become = expected(model)
            if [wanted[0], wanted[1]] == answers and (become.state, become.waits) == (after.state, after.waits):
                fitting.append(model)
        assert fitting, [(step.name, answer) for step, answer in zip(pair, answers, strict=True)]
        self.model = fitting[0]
        self.agree("at once: " + " | ".join(sorted(step.name for step in pair)), ordered=False, before=before)

    @rule(dice=dice)
    def claims_at_once(self, dice):
        """Two workers claim at the same time: each run goes to one of them, and no limit is passed."""
        if len(self.model.claimable(self.world.scene.now)) < len(WORKERS[:2]):
            self.trigger(dice)
            return
        workers, slots = WORKERS[:2], [1 + dice.number() % 6 for _ in range(2)]
        for worker in workers:
            self.report(worker)
        now = self.world.scene.now
        claims = self.world.do(self.world.claim_together(workers, slots))
        taken = [run for claim in claims for run in claim.runs]
        assert len({run.id for run in taken}) == len(taken)
        self.check_taken(taken)
        self.pass_over(claims)
        for worker, claim in zip(workers, claims, strict=True):
            self.model.leased(claim.runs, worker, now)
        self.claims += taken
        self.agree(f"claims at once: {'some' if all(claim.runs for claim in claims) else 'none'}")
