"""Lanes: looked for while they hold entries, and no more often than pays."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from strait_daemon.worker import lanes as lanes_module
from strait_daemon.worker.lanes import LONGEST_REST, SHORTEST_REST, Lanes


class Ticking:
    """A monotonic clock in the test's hands."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now(monkeypatch) -> Ticking:
    """The module's clock."""
    ticking = Ticking()
    monkeypatch.setattr(lanes_module, "monotonic", ticking)
    return ticking


async def look(lanes: Lanes, now: Ticking, found: Sequence[int], took: float) -> None:
    """One look that takes so long."""

    async def find() -> Sequence[int]:
        now.at += took
        return found

    await lanes.look(find)


async def test_nothing_is_looked_for_while_only_lane_0_holds_entries(now: Ticking):
    """The plain path never pays for lanes."""
    lanes = Lanes()
    assert not lanes.look_due()
    lanes.seen([], [], gated=False)
    assert not lanes.look_due()
    lanes.seen([], [], gated=True)
    assert lanes.look_due()


async def test_the_best_lanes_are_read_until_they_are_empty(now: Ticking):
    """A claim reads no more lanes than it can take runs; an empty order forgets them all."""
    lanes = Lanes()
    lanes.seen([], [], gated=True)
    await look(lanes, now, [7, 3, 9], took=0.0)
    assert (list(lanes.best(2)), list(lanes.best(10))) == ([7, 3], [7, 3, 9])
    lanes.seen([7, 3], {3}, gated=True)
    assert list(lanes.best(10)) == [9, 3]
    lanes.seen([9, 3], {3}, gated=False)
    assert list(lanes.best(10)) == []


@pytest.mark.parametrize(("took", "rest"), [(0.0, SHORTEST_REST), (0.001, 0.02), (0.03, 0.6), (5.0, LONGEST_REST)])
async def test_a_look_is_followed_by_a_rest(now: Ticking, took: float, rest: float):
    """Twenty times as long as the look itself, within bounds."""
    lanes = Lanes()
    lanes.seen([], [], gated=True)
    await look(lanes, now, [1], took)
    now.at += rest * 0.99
    assert not lanes.look_due()
    now.at += rest * 0.02
    assert lanes.look_due()


async def test_a_nudge_shortens_the_rest(now: Ticking):
    """Who was told of a change looks sooner, but never before the shortest rest, and knows when."""
    lanes = Lanes()
    lanes.seen([], [], gated=True)
    await look(lanes, now, [], took=0.03)
    assert (lanes.look_due(), lanes.patience()) == (False, float("inf"))
    lanes.nudge()
    assert not lanes.look_due()
    assert lanes.patience() == pytest.approx(0.12)
    now.at += 0.121
    assert (lanes.look_due(), lanes.patience()) == (True, 0.0)


async def test_a_freed_lane_is_read_without_a_look(now: Ticking):
    """It goes before the lanes that were known; a nudge waits until these have nothing left."""
    lanes = Lanes()
    lanes.seen([], [], gated=True)
    await look(lanes, now, [7, 3], took=0.001)
    lanes.freed([9, 3])
    assert list(lanes.best(10)) == [9, 3, 7]
    lanes.nudge()
    now.at += 0.01
    assert not lanes.look_due()
    lanes.seen([9, 3, 7], [], gated=True)
    assert lanes.look_due()
