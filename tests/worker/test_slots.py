"""Slots: how many runs a worker asks for, and who waits how long."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from strait_core.store.claims import Claimed
from strait_daemon.attempts.attempt import Attempt
from strait_daemon.attempts.catalog import Target
from strait_daemon.worker import slots as slots_module
from strait_daemon.worker.slots import AHEAD_MOST, Slots


def waiting(slots: Slots, count: int, opened: float | None = None) -> list[Attempt]:
    """That many open attempts that wait for a slot."""
    made = [
        Attempt(cast("Claimed", SimpleNamespace()), cast("Target", SimpleNamespace()), datetime.now(UTC))
        for _ in range(count)
    ]
    for attempt in made:
        attempt.open, attempt.opened = True, monotonic() if opened is None else opened
    slots.waiting.extend(made)
    return made


def quick(slots: Slots, per_second: float, monkeypatch) -> None:
    """Let completions come at that pace."""
    monkeypatch.setattr(slots_module.Pace, "rate", lambda _: per_second)


def test_without_a_pace_only_free_slots_are_claimed_for():
    """A worker that has completed nothing yet looks no further than its slots."""
    slots = Slots(10)
    assert slots.room() == 10
    slots.busy, slots.opening = 4, 3
    waiting(slots, 2)
    assert slots.room() == 1
    slots.opening = 9
    assert slots.room() == 0


def test_slow_attempts_are_not_claimed_ahead(monkeypatch):
    """When fewer attempts end in 50 ms than there are slots, a claim ahead would only wait."""
    slots = Slots(100)
    quick(slots, 1_900, monkeypatch)
    slots.busy = 100
    assert slots.room() == 0


def test_quick_attempts_are_claimed_ahead_in_batches(monkeypatch):
    """50 ms of completions ahead, asked for again when half of them are used up."""
    slots = Slots(64)
    quick(slots, 8_000, monkeypatch)
    slots.busy = 64
    assert slots.room() == 400
    waiting(slots, 300)
    assert slots.room() == 0
    for _ in range(150):
        slots.waiting.popleft()
    assert slots.room() == 250
    slots.waiting.clear()
    quick(slots, 1e9, monkeypatch)
    assert slots.room() == AHEAD_MOST


def test_a_free_slot_never_waits_for_the_batch(monkeypatch):
    """An idle slot is claimed for at once, however little it is."""
    slots = Slots(64)
    quick(slots, 8_000, monkeypatch)
    slots.busy = 1
    slots.opening = 62
    assert slots.room() > 0


def test_first_come_first_served():
    """Slots go to those who wait longest, and no further than there are slots."""
    slots = Slots(2)
    first, second, third = waiting(slots, 3)
    assert (slots.next(), slots.next(), slots.next()) == (first, second, None)
    slots.free()
    assert slots.next() is third
    assert slots.busy == 2


def test_who_waits_too_long_is_taken_out():
    """Attempts that were opened ahead do not wait behind endpoints that turned slow."""
    slots = Slots(1)
    old = waiting(slots, 2, opened=monotonic() - 10)
    fresh = waiting(slots, 1)
    assert slots.overdue(1.0) == old
    assert list(slots.waiting) == fresh
    assert slots.overdue(1.0) == []
    assert slots.empty() == fresh
    assert not slots.waiting


@given(st.integers(1, 2_000), st.integers(0, 2_000), st.integers(0, 2_000), st.floats(0, 1e6))
def test_room_is_bounded(total: int, busy: int, opening: int, rate: float):
    """Whatever the state, a claim asks for 0 to 500."""
    slots = Slots(total)
    slots.busy, slots.opening = min(busy, total), opening
    slots._pace.rate = lambda: rate  # type: ignore[method-assign]
    assert 0 <= slots.room() <= AHEAD_MOST
