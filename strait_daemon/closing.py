"""The server's closing: an event that also wakes everything that waits for something else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Closing(asyncio.Event):
    """Set once, when the server closes; whoever waits for a bell of his own hears of it by that bell."""

    def __init__(self) -> None:
        super().__init__()
        self._bells: set[asyncio.Event] = set()

    @contextmanager
    def ringing(self, bell: asyncio.Event) -> Iterator[None]:
        """Ring this bell when the server closes, and now if it does already."""
        self._bells.add(bell)
        if self.is_set():
            bell.set()
        try:
            yield
        finally:
            self._bells.discard(bell)

    def set(self) -> None:
        """Close."""
        super().set()
        for bell in self._bells:
            bell.set()
