"""Low-water marks: below which `ready_seq` each priority of lane 0 holds nothing any more.

An index scan that starts there does not walk the dead entries that earlier claims left behind. The marks trail what was
claimed by 250 ms, because rows commit late, and once a second a claim ignores them altogether.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Final

from strait_core.store.claims import PRIORITIES, Claimed

TRAIL_SECS: Final = 0.25
FULL_RANGE_SECS: Final = 1.0


class Marks:
    """One worker's marks."""

    def __init__(self) -> None:
        self._lows: dict[int, int] = dict.fromkeys(PRIORITIES, 0)
        self._recent: deque[tuple[float, dict[int, int]]] = deque()
        self._full_at = float("-inf")
        self._full = True

    def begin(self) -> None:
        """A claim begins; once a second it looks at the whole order."""
        now = monotonic()
        self._full = now - self._full_at >= FULL_RANGE_SECS
        if self._full:
            self._full_at = now

    def lows(self) -> Sequence[int]:
        """The marks for the next claim, one for each of PRIORITIES; all 0 for a full range."""
        if self._full:
            return [0] * len(PRIORITIES)
        trail = monotonic() - TRAIL_SECS
        while self._recent and self._recent[0][0] <= trail:
            for priority, head in self._recent.popleft()[1].items():
                self._lows[priority] = max(self._lows[priority], head)
        return [self._lows[priority] for priority in PRIORITIES]

    def claimed(self, runs: Sequence[Claimed]) -> None:
        """Take note of what a claim took from lane 0."""
        heads: dict[int, int] = {}
        for run in runs:
            if run.lane == 0:
                heads[run.priority] = max(heads.get(run.priority, 0), run.ready_seq)
        if heads:
            self._recent.append((monotonic(), heads))
