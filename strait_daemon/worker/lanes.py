"""Which lanes a claim reads besides lane 0, and how often it pays to look for them again.

A look hops through the ready order from lane to lane: half a millisecond for a few lanes, tens for ten thousand.
So it is repeated only while lanes hold entries, and at most a twentieth of the time goes into it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from time import monotonic
from typing import Final

# A look is followed by so many times its own length without one; within these bounds, in seconds.
REST: Final = 20
SHORTEST_REST: Final = 0.005
LONGEST_REST: Final = 1.0
# Who has been told that something changed rests less.
NUDGED_REST: Final = 4


class Lanes:
    """The open lanes that held entries at the last look, the one with the best entry first."""

    def __init__(self) -> None:
        self._open: list[int] = []
        self._gated = False
        self._rested_at = self._nudged_at = float("-inf")
        self._nudged = False

    def seen(self, read: Sequence[int], gave: Collection[int], *, gated: bool) -> None:
        """What a claim saw: the lanes it read, those that gave runs, and whether any lane holds entries still.

        A lane that gave runs has a later head now and goes behind the others; one that gave none is empty or closed.
        """
        self._gated = gated
        self._open = [*self._open[len(read) :], *(lane for lane in read if lane in gave)] if gated else []

    def look_due(self) -> bool:
        """Whether there is anything to look for, and enough time has passed since the last look."""
        # While open lanes are known, a nudge can wait: what they hold is claimed first.
        hurries = self._nudged and not self._open
        return self._gated and monotonic() >= (self._nudged_at if hurries else self._rested_at)

    def nudge(self) -> None:
        """Something has changed: the next look is due sooner."""
        self._nudged = True

    def freed(self, lanes: Collection[int]) -> None:
        """These have room again: they are read next, without a look."""
        self._open = [*lanes, *(lane for lane in self._open if lane not in lanes)]

    def patience(self) -> float:
        """Seconds until a look is due that somebody asked for; infinite when nobody did."""
        if not (self._gated and self._nudged):
            return float("inf")
        return max(self._nudged_at - monotonic(), 0.0)

    async def look(self, find: Callable[[], Awaitable[Sequence[int]]]) -> None:
        """Find the open lanes."""
        began = monotonic()
        self._nudged = False
        self._open = list(await find())
        ended = monotonic()
        self._rested_at = ended + _rest(REST, ended - began)
        self._nudged_at = ended + _rest(NUDGED_REST, ended - began)

    def best(self, most: int) -> Sequence[int]:
        """The lanes that a claim of `most` runs has to read: each gives one at least."""
        return self._open[:most]


def _rest(times: int, took: float) -> float:
    return min(max(times * took, SHORTEST_REST), LONGEST_REST)
