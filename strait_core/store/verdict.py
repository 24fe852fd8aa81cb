"""What the database says of a batch of moves, and what the batch brings about beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from strait_core.store.limits import Freed
from strait_core.store.workflow_live import Brought
from strait_core.trigger import NewRun


@dataclass(slots=True)
class Verdict:
    """Which moves have happened (`held`), and which were refused for their data."""

    held: set[UUID] = field(default_factory=set)
    refused: dict[UUID, Exception] = field(default_factory=dict)
    # Moves that have to be sent again: somebody else holds what they move.
    later: set[UUID] = field(default_factory=set)
    # Runs that its endings have started, and runs that wait no more.
    started: list[NewRun] = field(default_factory=list)
    resumed: list[UUID] = field(default_factory=list)
    # Slots that it has given up.
    freed: list[Freed] = field(default_factory=list)
    # Runs that wait now instead of ending.
    parked: set[UUID] = field(default_factory=set)
    # What workflow runs have made of it.
    brought: Brought | None = None

    def add(self, other: Verdict) -> Verdict:
        """This and what was said of another part of the batch."""
        self.held |= other.held
        self.refused |= other.refused
        self.later |= other.later
        self.started += other.started
        self.resumed += other.resumed
        self.freed += other.freed
        if self.brought is None:
            self.brought = other.brought
        elif other.brought is not None:
            self.brought.add(other.brought)
        return self
