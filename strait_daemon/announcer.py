"""Who has to know what has just been committed: the claimer, watchers, the stager, the counters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from strait_core.run import Status
from strait_core.store.runs import Ended
from strait_core.store.workflow_live import Brought
from strait_core.trigger import NewRun
from strait_daemon.bus import Bus
from strait_daemon.clock import Clock
from strait_daemon.telemetry import Metrics

# Whoever waits for due times never sleeps longer, so what comes due later than this is found without a word.
LONGEST_SECS: Final = 15.0


class Announcer:
    """Told by whoever has committed; tells this process, and the others over the bus."""

    def __init__(self, bus: Bus, clock: Clock, metrics: Metrics) -> None:
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._due: Callable[[], None] = lambda: None
        self._timer: Callable[[], None] = lambda: None

    def on_due(self, callback: Callable[[], None]) -> None:
        """Call back when a run comes due before anybody would look by himself."""
        self._due = callback

    def on_timer(self, callback: Callable[[], None]) -> None:
        """Call back when a step of a workflow run has to be looked at before anybody would look by himself."""
        self._timer = callback

    def brought(self, brought: Brought) -> None:
        """Workflow runs have moved: what a transaction has brought about there."""
        if brought.started:
            self.made(brought.started)
        if brought.ended:
            self.taken(brought.ended)
        if brought.moved:
            self._bus.runs_changed(brought.moved)
        if brought.resumed:
            self.resumed(brought.resumed)
        at = brought.due_at
        if brought.has_room or (at is not None and at < self._clock.now() + timedelta(seconds=LONGEST_SECS)):
            self._timer()

    def taken(self, ended: Sequence[Ended]) -> None:
        """These runs were ended from outside."""
        self._bus.runs_changed([run.id for run in ended])
        if taken := [run.id for run in ended if run.worker_id is not None]:
            self._bus.runs_taken(taken)
        if lanes := {run.lane for run in ended} - {0}:
            self._bus.freed(lanes)

    def made(self, runs: Sequence[NewRun]) -> None:
        """These runs are new, or stand at another time."""
        self._metrics.triggered.inc(len(runs))
        self._bus.runs_made(run.id for run in runs)
        if any(run.status is Status.QUEUED for run in runs):
            self._bus.wake()
        if times := [run.scheduled_at for run in runs if run.status is Status.DELAYED and run.scheduled_at]:
            self.due(min(times))

    def due(self, at: datetime) -> None:
        """A run comes due at that time."""
        if at < self._clock.now() + timedelta(seconds=LONGEST_SECS):
            self._due()

    def moved(self, ids: Collection[UUID]) -> None:
        """These runs have moved."""
        self._bus.runs_changed(ids)

    def resumed(self, ids: Sequence[UUID]) -> None:
        """These runs wait no more."""
        self._bus.runs_changed(ids)
        self._bus.wake()

    def freed(self, lanes: Collection[int]) -> None:
        """Slots have become free in these lanes."""
        self._bus.freed(lanes)
