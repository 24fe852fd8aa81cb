"""What one rule of the model test chooses by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from strait_core.store.claims import Claimed
from tests.model.acts import Wish

T = TypeVar("T")
KEYS = [None, "a", "a", "b"]


@dataclass
class Dice:
    """Choices for one rule. Always as many draws, whatever there is to choose from: how two moves at once end is chance,
    and an example has to draw the same when it is repeated.
    """

    thrown: bytes
    at: int = 0

    def number(self) -> int:
        """From 0 to 255, each time another."""
        self.at += 1
        return self.thrown[self.at % len(self.thrown)]

    def of(self, things: Sequence[T]) -> T:
        """One of them; mostly the first when Hypothesis makes it simple."""
        return things[self.number() % len(things)]

    def rarely(self) -> bool:
        """One time in ten."""
        return self.number() % 10 == 9

    def newest(self, held: Sequence[T]) -> T:
        """One of the last few, or now and then any: long lost by whoever believes to hold it."""
        return self.of(held[-4:] if self.number() % 3 else held)

    def batch(self, held: Sequence[Claimed]) -> list[Claimed]:
        """A few claims of different runs."""
        picked = [self.newest(held) for _ in range(1 + self.number() % 4)]
        return list({one.id: one for one in picked}.values())


dice = st.binary(min_size=24, max_size=24).map(Dice)


def wish_of(dice: Dice) -> Wish:
    """What a trigger may ask for."""
    return Wish(
        ahead=dice.of([None, None, None, -5, 20, 40]),
        ttl=dice.of([None, None, None, 30, 90]),
        priority=dice.number() % 4,
        most=1 + dice.number() % 3,
        key=dice.of(KEYS),
    )
