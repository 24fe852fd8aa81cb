"""What may happen to runs, by name, each as often as it is to come; and the jobs that they are runs of."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from strait_core.job import VersionPolicy
from strait_core.run import Outcome, OutcomeKind

WORKERS = [UUID(int=n) for n in (1, 2, 3)]
SUCCESS = Outcome(OutcomeKind.SUCCESS)
FINAL = Outcome(OutcomeKind.ERROR, final=True)
OUTCOMES = [SUCCESS, SUCCESS, *(Outcome(kind) for kind in OutcomeKind), FINAL]
EVENTS = ["x", "y", "z"]
# One job with each kind of limit; what the ends of their runs start leads in a circle, and in one place to nothing.
JOBS: dict[str, dict[str, Any]] = {
    "plain": {
        "version_policy": VersionPolicy.LATEST,
        "on_complete_trigger_job": "keyed",
        "on_failure_trigger_job": "capped",
    },
    "capped": {"version_policy": VersionPolicy.PIN, "max_concurrency": 2, "on_failure_trigger_job": "plain"},
    "keyed": {"version_policy": VersionPolicy.PIN, "max_concurrency_per_key": 1, "on_complete_trigger_job": "gone"},
    "rated": {"version_policy": VersionPolicy.LATEST, "rate_limit_max": 4, "rate_limit_window_secs": 20},
}
FORWARD = ["trigger", "claim", "claim", "start", "start", "end", "end"]
SPEAK = [
    "wait event", "wait event", "wait run", "spawn", "spawn and wait", "spawn and wait", "accept", "accept", "beat",
    "complete", "fail",
]  # fmt: skip
# With so many runs that may not start, time passes rather than that more are triggered.
BACKLOG = 8
# After these an attempt mostly ends well, so that its run waits.
WAITING = {"wait event", "wait run", "spawn and wait"}
AROUND = [
    "promote", "promote", "expire", "expire", "reap", "fold", "heartbeat", "send", "send", "cancel event", "resume", "time out",
    "lapse", "unpark",
]  # fmt: skip
CHANGES = ["pause", "pause", "edit", "edit", "limits", "limits", "delete"]
