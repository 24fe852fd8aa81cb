"""What the model is made of: jobs, runs, and what runs wait for, as far as each matters to the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from strait_core.run import TERMINAL, Event, Status, next_status
from strait_core.store.claims import Claimed

STALE_AFTER: Final = timedelta(seconds=60)
# The time limit of every attempt.
LIMIT: Final = timedelta(seconds=100)
_MICROSECOND: Final = timedelta(microseconds=1)
# Every step of the table that a run of the model has taken.
WALKED: Final[set[tuple[Status, Event]]] = set()


@dataclass
class Job:
    """A job as far as it matters to its runs."""

    id: UUID
    slug: str = "job"
    version: int = 1
    latest: bool = False
    enabled: bool = True
    paused: bool = False
    deleted: bool = False
    boost: int = 1
    # How many of its attempts may be live at once, and how many of one key; None = any number.
    cap: int | None = None
    key_cap: int | None = None
    # How many attempts may start in how many seconds: that many tokens, which come back evenly.
    rate: tuple[int, int] | None = None
    # When the tokens were used up, or would have been; None = never used.
    zero_at: datetime | None = None
    # The slugs of the jobs that an ending starts.
    on_complete: str | None = None
    on_failure: str | None = None

    @property
    def takes(self) -> bool:
        """Whether new runs are accepted."""
        return self.enabled and not self.paused and not self.deleted

    @property
    def is_open(self) -> bool:
        """Whether its runs may be claimed, as far as its limits let them."""
        return self.deleted or (self.enabled and not self.paused)

    def tokens(self, now: datetime) -> int | None:
        """How many attempts may start now; None = any number."""
        if self.rate is None or self.deleted:
            return None
        most, secs = self.rate
        if self.zero_at is None:
            return most
        return min((now - self.zero_at) * most // timedelta(seconds=secs), most)

    def spend(self, count: int, now: datetime) -> None:
        """Take tokens for attempts that have just been claimed."""
        if self.rate is None or not count:
            return
        most, secs = self.rate
        full = now - timedelta(seconds=secs)
        took = -(-(count * timedelta(seconds=secs)) // (most * _MICROSECOND)) * _MICROSECOND
        self.zero_at = max(self.zero_at or full, full) + took


@dataclass
class Run:
    """A run; `place` orders the ready ones (parked ones keep theirs), `due` is when it comes back by itself."""

    id: UUID
    job: UUID
    status: Status
    most: int
    priority: int
    version: int
    expires: datetime | None
    # Since when its time to live counts.
    fresh_at: datetime
    created: datetime
    due: datetime | None = None
    key: str | None = None
    # Who made it, and how many made one another before it.
    parent: UUID | None = None
    depth: int = 0
    # The database has made it and not told its id yet.
    is_unborn: bool = False
    place: int | None = None
    seq: int = 1
    attempt: int = 0
    base: int = 0
    lease: int | None = None
    worker: UUID | None = None
    started: datetime | None = None
    # Until when an endpoint that has accepted the attempt may take; None = none has.
    deadline: datetime | None = None
    beat: datetime | None = None
    # Its ending asks what it waits for; and somebody waits for its end.
    ties: bool = False
    awaited: bool = False

    def move(self, event: Event) -> None:
        """Take the step of the table; there must be one."""
        to = next_status(self.status, event)
        assert to is not None, (self.status, event)
        WALKED.add((self.status, event))
        self.status = to
        self.seq += 1
        if to is not Status.QUEUED:
            self.place = self.due = None
        if to not in {Status.DEQUEUED, Status.EXECUTING}:
            self.lease = self.worker = self.deadline = None
        if to in TERMINAL:
            self.ties = self.awaited = False
            self.beat = None

    def late(self, now: datetime) -> bool:
        """Whether its time to live is over: it does not start any more."""
        return self.expires is not None and self.expires <= now

    def held_by(self, held: Claimed, status: Status) -> bool:
        """The fence: status, attempt and lease are as the holder believes."""
        return (self.status, self.attempt, self.lease) == (status, held.attempt, held.lease)

    def speaks(self, attempt: int) -> bool:
        """Whether that attempt's token is good."""
        return self.status is Status.EXECUTING and self.attempt == attempt

    def lapsed(self, now: datetime) -> str | None:
        """Why the clock ends an accepted attempt: its `time`, or its `heartbeat`; None = it does not."""
        if self.deadline is None or self.started is None:
            return None
        if self.deadline <= now:
            return "time"
        silent = self.beat is not None and self.started <= self.beat < now - STALE_AFTER
        return "heartbeat" if silent else None


@dataclass
class Wait:
    """One thing that a run waits for, or has waited for: an event by its key and number, or another run."""

    run: UUID
    attempt: int
    key: str | None = None
    event: int | None = None
    child: UUID | None = None
    due: datetime | None = None
    # What came of it; None while it is open.
    outcome: str | None = None
