"""Slots: how many attempts may run at once, who waits for one, and how far ahead it pays to claim."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Final

from strait_daemon.attempts.attempt import Attempt

# Runs are claimed, and their attempts opened, at most this far ahead of a free slot, measured in completions.
AHEAD_SECS: Final = 0.05
AHEAD_MOST: Final = 500
_WINDOW_SECS: Final = 0.1


class Pace:
    """Completions per second over the last tenth of a second or longer."""

    def __init__(self) -> None:
        self._count = 0
        self._since = monotonic()
        self._rate = 0.0

    def done(self) -> None:
        """One more attempt has ended."""
        self._count += 1

    def rate(self) -> float:
        """Completions per second, lately."""
        now = monotonic()
        elapsed = now - self._since
        if elapsed >= _WINDOW_SECS:
            self._rate = self._count / elapsed
            self._count, self._since = 0, now
        return self._rate


class Slots:
    """The slots of one worker: `busy` attempts have one, `waiting` are open without one, `opening` are claimed."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.busy = 0
        self.opening = 0
        self.waiting: deque[Attempt] = deque()
        self._pace = Pace()

    def room(self) -> int:
        """How many runs to claim now: the free slots, and when attempts are quick some more to keep them fed.

        Looking ahead has hysteresis, so that claims come in batches and not one by one.
        """
        committed = self.opening + len(self.waiting)
        free = self.total - self.busy - committed
        ahead = self._ahead()
        if ahead and free <= 0 and committed > ahead // 2:
            return 0
        return max(0, min(free + ahead, AHEAD_MOST))

    def _ahead(self) -> int:
        """None while the average attempt takes longer than 50 ms: then more runs would end in that time than fit."""
        ahead = int(self._pace.rate() * AHEAD_SECS)
        return min(ahead, AHEAD_MOST) if ahead > self.total else 0

    def next(self) -> Attempt | None:
        """Give the longest-waiting attempt a free slot; None when there is no slot or nobody waits."""
        if self.busy >= self.total or not self.waiting:
            return None
        self.busy += 1
        return self.waiting.popleft()

    def free(self) -> None:
        """An attempt has ended: its slot is free."""
        self.busy -= 1
        self._pace.done()

    def overdue(self, patience_secs: float) -> list[Attempt]:
        """Take out those that have waited too long for a slot, because attempts turned slow."""
        limit = monotonic() - patience_secs
        late = [attempt for attempt in self.waiting if attempt.opened < limit]
        if late:
            self.waiting = deque(attempt for attempt in self.waiting if attempt.opened >= limit)
        return late

    def empty(self) -> list[Attempt]:
        """Take out everybody who waits."""
        waiting, self.waiting = list(self.waiting), deque()
        return waiting
