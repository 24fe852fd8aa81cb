"""What the model knows of waiting: events, runs that wait for others, and what an ending brings about."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from strait_core.completion import MAX_CHAIN, STARTING
from strait_core.run import TERMINAL, Event, Status
from tests.model.parts import Job, Run, Wait

# What every job of the model allows a run that it did not hear otherwise of.
DEFAULT_ATTEMPTS = 3


@dataclass
class Ties:
    """Jobs, runs, and the waits between them."""

    jobs: dict[UUID, Job] = field(default_factory=dict)
    runs: dict[UUID, Run] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    # The number of the event that each key stands for, and which of them have come.
    events: dict[str, int] = field(default_factory=dict)
    came: set[int] = field(default_factory=set)
    # Runs that wait for their keys, as the database last said.
    parked: set[UUID] = field(default_factory=set)
    numbers: int = 0
    # Grows with each run that takes a place in the ready order, and with each that the database makes.
    places: int = 0
    born: int = 0

    def copy(self) -> Self:
        """One that can be moved without moving this one."""
        made = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in made.items():
            if isinstance(value, dict):
                made[name] = {key: copy(item) for key, item in value.items()}
            elif isinstance(value, list):
                made[name] = [copy(item) for item in value]
            elif isinstance(value, set):
                made[name] = set(value)
        return type(self)(**made)

    def _ready(self, run: Run) -> None:
        self.places += 1
        run.place, run.due = self.places, None

    def adopt(self, ready: Iterable[UUID], before: int) -> None:
        """Take over the order that the database gave to those whose place is newer than `before`."""
        for run_id in ready:
            if (self.runs[run_id].place or 0) > before:
                self.places += 1
                self.runs[run_id].place = self.places

    def bind(self, parents: dict[UUID, UUID | None]) -> None:
        """Learn the ids of runs that the database has made; `parents` are those of all stored runs."""
        new = {parent: run_id for run_id, parent in parents.items() if run_id not in self.runs}
        if not any(run.is_unborn for run in self.runs.values()):
            return
        for run in self.runs.values():
            if run.is_unborn and run.parent in new:
                run.id, run.is_unborn = new[run.parent], False
        self.runs = {run.id: run for run in self.runs.values()}

    # -- waiting ----------------------------------------------------------------------------------------------------

    def open_waits(self, run_id: UUID) -> list[Wait]:
        """What a run waits for."""
        return [wait for wait in self.waits if wait.run == run_id and wait.outcome is None]

    def wait_event(self, run_id: UUID, attempt: int, key: str, due: datetime) -> str | None:
        """Record a wait for an event: what has come of it, `open`; None when the attempt is over."""
        run = self.runs[run_id]
        if not run.speaks(attempt):
            return None
        run.ties = True
        known = [wait for wait in self.waits if (wait.run, wait.key) == (run_id, key)]
        if not known:
            if key not in self.events:
                self.numbers += 1
                self.events[key] = self.numbers
            event = self.events[key]
            known = [Wait(run_id, attempt, key, event, due=due, outcome="received" if event in self.came else None)]
            self.waits += known
        return known[-1].outcome or "open"

    def wait_child(self, run_id: UUID, attempt: int, child: UUID) -> str | None:
        """Record a wait for another run; `circle` when it would wait for itself, None when the attempt is over."""
        run = self.runs[run_id]
        if not run.speaks(attempt):
            return None
        if not any((wait.run, wait.child) == (run_id, child) for wait in self.waits):
            if self._leads_to(child, run_id):
                return "circle"
            other = self.runs[child]
            over = other.status in TERMINAL
            other.awaited = not over
            self.waits.append(Wait(run_id, attempt, child=child, outcome=other.status.value if over else None))
        run.ties = True
        return "recorded"

    def _leads_to(self, run_id: UUID, wanted: UUID) -> bool:
        """Whether a run waits for another, perhaps through others."""
        seen: set[UUID] = set()
        found = {run_id}
        while found - seen:
            seen |= found
            found = {wait.child for one in seen for wait in self.open_waits(one) if wait.child is not None}
        return wanted in seen

    def send(self, key: str) -> bool:
        """An event comes; whether it is the first of its key."""
        if key not in self.events:
            self.numbers += 1
            self.events[key] = self.numbers
        event = self.events[key]
        is_new = event not in self.came
        if is_new:
            self.came.add(event)
            self._settle(lambda wait: wait.event == event, "received")
        self.resume()
        return is_new

    def cancel_event(self, key: str) -> bool:
        """Nobody shall wait for an event any more; whether anybody could."""
        event = self.events.get(key)
        if event is None or event in self.came:
            # Who looks for runs that may go on finds also those that an earlier step has left.
            self.resume()
            return False
        del self.events[key]
        self._settle(lambda wait: wait.event == event, "canceled")
        self.resume()
        return True

    def _settle(self, which: Any, outcome: str) -> None:
        for wait in self.waits:
            if wait.outcome is None and which(wait):
                wait.outcome = outcome

    def resume(self) -> set[UUID]:
        """Runs that wait for nothing any more go on."""
        going = [run for run in self.runs.values() if run.status is Status.WAITING and not self.open_waits(run.id)]
        for run in going:
            run.move(Event.RESUME)
            self._ready(run)
        return {run.id for run in going}

    def late(self, now: datetime) -> set[UUID]:
        """Runs whose event did not come in time."""
        return {
            wait.run
            for wait in self.waits
            if wait.outcome is None and wait.due and wait.due <= now and self.runs[wait.run].status is Status.WAITING
        }

    # -- endings ----------------------------------------------------------------------------------------------------

    def drop_recorded(self, run: Run) -> None:
        """Forget what the present attempt has recorded; what came of earlier waits stays."""
        self.waits = [wait for wait in self.waits if (wait.run, wait.attempt) != (run.id, run.attempt)]
        run.ties = any(wait.run == run.id for wait in self.waits)

    def over(self, run: Run, event: Event) -> None:
        """End a run: what it waited for is forgotten, who waits for it is told."""
        run.move(event)
        self.waits = [wait for wait in self.waits if wait.run != run.id]
        self._settle(lambda wait: wait.child == run.id, run.status.value)

    def follow(self, run: Run, now: datetime) -> None:
        """Start what the end of a run starts; its id is for the database to say."""
        job = self.jobs[run.job]
        slug = job.on_complete if run.status is Status.COMPLETED else job.on_failure
        if run.status not in STARTING or slug is None or run.depth >= MAX_CHAIN:
            return
        target = next((one for one in self.jobs.values() if one.slug == slug and not one.deleted), None)
        if target is None or not target.takes:
            return
        self.born += 1
        made = Run(
            UUID(int=self.born), target.id, Status.QUEUED, DEFAULT_ATTEMPTS, 0, target.version, None, now, now,
            parent=run.id, depth=run.depth + 1, is_unborn=True,
        )  # fmt: skip
        self.runs[made.id] = made
        self._ready(made)
