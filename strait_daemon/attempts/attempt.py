"""A claimed run on its way through one process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from strait_core import ids
from strait_core.store.claims import Claimed
from strait_daemon.attempts.catalog import Target


class Stop(StrEnum):
    """Why this process ends an attempt that the endpoint has not ended."""

    TIMED_OUT = "timed_out"
    TAKEN = "taken"
    RELEASED = "released"
    CUT_OFF = "cut_off"


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt: claimed, then `open` from its committed start until its ending is decided.

    `task` is there while it has a slot, `calling` is true while that task waits for the endpoint; `stop` says that and
    why this process lets go of it.
    """

    run: Claimed
    target: Target
    claimed_at: datetime
    opened: float = 0.0
    open: bool = False
    calling: bool = False
    stop: Stop | None = None
    # When it may be tried again, if its endpoint is left alone for a while.
    held_until: datetime | None = None
    # Why the fallback is asked; None while it is not.
    fallback: str | None = None
    # What an attempt before has kept, if it is short.
    checkpoint: str | None = None
    task: asyncio.Task[None] | None = None

    @property
    def run_id(self) -> str:
        """The run's id as the world spells it."""
        return ids.spell(ids.Prefix.RUN, self.run.id)

    @property
    def number(self) -> int:
        """The attempt's number, from 1."""
        return self.run.attempt + 1

    def end(self, stop: Stop) -> None:
        """Let go of it, closing its request if that is open; the first reason counts."""
        if self.stop is None:
            self.stop = stop
            # A task that has not taken its first step yet would not even begin: it finds `stop` by itself.
            if self.task is not None and self.calling:
                self.task.cancel()

    def let_go(self) -> bool:
        """Whether a cancellation of the task is this attempt's own end, and not the task's; takes it back if so."""
        if self.stop is None or self.task is None:
            return False
        self.task.uncancel()
        return True
