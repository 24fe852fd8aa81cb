"""Where a workflow run and its steps are, and the two tables of moves between these states.

`RUN_MOVES` and `STEP_MOVES` are the only places where moves are written down; what is terminal, what the engine may
do and what the tests expect derive from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class RunStatus(StrEnum):
    """Where a workflow run is."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


class RunMove(StrEnum):
    """What moves a workflow run."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    FAIL = "fail"
    TIME_OUT = "time_out"
    CANCEL = "cancel"
    COMPENSATE = "compensate"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"
    RETRY = "retry"


class StepStatus(StrEnum):
    """Where a step of a workflow run is."""

    PENDING = "pending"
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELED = "canceled"


class StepMove(StrEnum):
    """What moves a step."""

    RUN = "run"
    AWAIT = "await"
    COMPLETE = "complete"
    FAIL = "fail"
    SKIP = "skip"
    CANCEL = "cancel"
    RESET = "reset"


_R, _M = RunStatus, RunMove

RUN_MOVES: Final[Mapping[tuple[RunStatus, RunMove], RunStatus]] = {
    (_R.PENDING, _M.START): _R.RUNNING,
    (_R.PENDING, _M.FAIL): _R.FAILED,
    (_R.PENDING, _M.TIME_OUT): _R.TIMED_OUT,
    (_R.PENDING, _M.CANCEL): _R.CANCELED,
    (_R.RUNNING, _M.PAUSE): _R.PAUSED,
    (_R.RUNNING, _M.COMPLETE): _R.COMPLETED,
    (_R.RUNNING, _M.FAIL): _R.FAILED,
    (_R.RUNNING, _M.TIME_OUT): _R.TIMED_OUT,
    (_R.RUNNING, _M.CANCEL): _R.CANCELED,
    (_R.RUNNING, _M.COMPENSATE): _R.COMPENSATING,
    (_R.PAUSED, _M.RESUME): _R.RUNNING,
    (_R.PAUSED, _M.COMPLETE): _R.COMPLETED,
    (_R.PAUSED, _M.FAIL): _R.FAILED,
    (_R.PAUSED, _M.TIME_OUT): _R.TIMED_OUT,
    (_R.PAUSED, _M.CANCEL): _R.CANCELED,
    (_R.COMPENSATING, _M.UNDONE): _R.COMPENSATED,
    (_R.COMPENSATING, _M.UNDO_FAILED): _R.COMPENSATION_FAILED,
    (_R.FAILED, _M.RETRY): _R.RUNNING,
    (_R.TIMED_OUT, _M.RETRY): _R.RUNNING,
    (_R.CANCELED, _M.RETRY): _R.RUNNING,
    (_R.FAILED, _M.COMPENSATE): _R.COMPENSATING,
    (_R.TIMED_OUT, _M.COMPENSATE): _R.COMPENSATING,
}

_S, _T = StepStatus, StepMove

STEP_MOVES: Final[Mapping[tuple[StepStatus, StepMove], StepStatus]] = {
    (_S.PENDING, _T.RUN): _S.RUNNING,
    (_S.PENDING, _T.AWAIT): _S.WAITING,
    (_S.PENDING, _T.COMPLETE): _S.COMPLETED,
    (_S.PENDING, _T.FAIL): _S.FAILED,
    (_S.PENDING, _T.SKIP): _S.SKIPPED,
    (_S.PENDING, _T.CANCEL): _S.CANCELED,
    (_S.WAITING, _T.COMPLETE): _S.COMPLETED,
    (_S.WAITING, _T.FAIL): _S.FAILED,
    (_S.WAITING, _T.SKIP): _S.SKIPPED,
    (_S.WAITING, _T.CANCEL): _S.CANCELED,
    (_S.RUNNING, _T.COMPLETE): _S.COMPLETED,
    (_S.RUNNING, _T.FAIL): _S.FAILED,
    (_S.RUNNING, _T.CANCEL): _S.CANCELED,
    (_S.COMPLETED, _T.RESET): _S.PENDING,
    (_S.FAILED, _T.RESET): _S.PENDING,
    (_S.SKIPPED, _T.RESET): _S.PENDING,
    (_S.CANCELED, _T.RESET): _S.PENDING,
}

_BACK: Final = frozenset({RunMove.RETRY, RunMove.COMPENSATE})
# States that only a retry or a compensation, or nothing, leaves.
RUN_TERMINAL: Final = frozenset(
    status for status in RunStatus if all(move in _BACK for at, move in RUN_MOVES if at is status)
)
# Kept longer, because somebody has to look at them.
RUN_LONG_KEPT: Final = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.COMPENSATION_FAILED})
RETRYABLE: Final = frozenset(at for at, move in RUN_MOVES if move is RunMove.RETRY)
# A step that is over, unless somebody resets it.
STEP_TERMINAL: Final = frozenset(at for at, move in STEP_MOVES if move is StepMove.RESET)
STEP_OPEN: Final = frozenset({StepStatus.WAITING, StepStatus.RUNNING})


def next_run_status(status: RunStatus, move: RunMove) -> RunStatus | None:
    """Where `move` takes a run that is in `status`; None when the table has no such move."""
    return RUN_MOVES.get((status, move))


def next_step_status(status: StepStatus, move: StepMove) -> StepStatus | None:
    """Where `move` takes a step that is in `status`; None when the table has no such move."""
    return STEP_MOVES.get((status, move))
