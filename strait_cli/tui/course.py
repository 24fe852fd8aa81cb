"""What is known of a watched run: every change folded into one picture, without a terminal in sight."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from strait_core.run import TERMINAL, Status

# A path or a log that is longer is shown from its end.
MOST_LINES: Final = 5_000


class Part(StrEnum):
    """What a change concerns on the screen."""

    HEAD = "head"
    PATH = "path"
    ATTEMPTS = "attempts"
    LOGS = "logs"
    DATA = "data"
    WHY = "why"


@dataclass(frozen=True, slots=True)
class Step:
    """A state that the run came to."""

    seq: int
    status: str
    at: str | None
    attempt: int
    reason: str | None


@dataclass(slots=True)
class Course:
    """A run as far as it is known; `fresh` are log lines that have not been drawn yet."""

    run: dict[str, Any]
    steps: deque[Step] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    attempts: list[dict[str, Any]] = field(default_factory=list)
    fresh: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    lines: int = 0
    progress: dict[str, Any] | None = None
    reasons: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with what the run itself tells."""
        self.progress = self.run.get("progress")

    @property
    def status(self) -> str:
        """The state that is on the screen: that of the last step, which may be behind the run's."""
        return self.steps[-1].status if self.steps else str(self.run["status"])

    @property
    def attempt(self) -> int:
        """The number of the latest attempt, 0 before the first."""
        return self.steps[-1].attempt if self.steps else int(self.run["attempt"])

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.status in TERMINAL

    @property
    def is_held(self) -> bool:
        """Whether there may be reasons why it does not run."""
        return self.status in {Status.DELAYED, Status.QUEUED, Status.WAITING}

    def take(self, change: dict[str, Any]) -> set[Part]:
        """Fold in one change as `watch.changes` tells it; what has to be drawn anew."""
        match change["event"]:
            case "snapshot":
                run = change["run"]
                self._step(run["seq"], run["status"], run.get("finished_at") or run["created_at"], run["attempt"], None)
                self.run = {**self.run, **run}
                return {Part.HEAD, Part.PATH, Part.WHY, Part.DATA}
            case "status":
                self._step(change["seq"], change["status"], change.get("at"), change["attempt"], change.get("reason"))
                return {Part.HEAD, Part.PATH, Part.ATTEMPTS, Part.WHY}
            case "attempt":
                self.attempts.append(change)
                return {Part.ATTEMPTS}
            case "log":
                self.fresh.append(change)
                self.lines += 1
                return {Part.LOGS}
            case "progress":
                self.progress = change
                return {Part.HEAD}
        return set()

    def _step(self, seq: int, status: str, at: str | None, attempt: int, reason: str | None) -> None:
        self.steps.append(Step(seq, status, at, attempt, reason))
        if status not in {Status.DELAYED, Status.QUEUED, Status.WAITING}:
            self.reasons = []

    def read(self, run: dict[str, Any]) -> set[Part]:
        """The run as it was read: its result, its error, its progress."""
        self.run = run
        self.progress = run.get("progress") or self.progress
        return {Part.HEAD, Part.DATA}

    def explain(self, told: dict[str, Any]) -> set[Part]:
        """Why it does not run; an answer that comes too late is left out."""
        self.reasons = told["reasons"] if self.is_held and told["status"] == self.status else []
        return {Part.WHY}

    def live_since(self) -> str | None:
        """When the attempt under way began; None when there is none."""
        return self.steps[-1].at if self.steps and self.status == Status.EXECUTING else None
