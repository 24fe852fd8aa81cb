"""A clock that stands still until a test moves it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

# A Wednesday far from today: whoever reads a real clock instead is noticed.
START: Final = datetime(2030, 1, 16, 12, tzinfo=UTC)


@dataclass
class VirtualClock:
    """Implements the daemon's Clock protocol."""

    at: datetime = START

    def now(self) -> datetime:
        """The instant the test has set."""
        return self.at

    def advance(self, **length: float) -> datetime:
        """Let time pass; the new present."""
        self.at += timedelta(**length)
        return self.at
