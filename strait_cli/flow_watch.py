"""Following one workflow run to its end: each step's moves and the run's own, each once, over all connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from strait_cli import exact, polling
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.stream import Message, Quiet, follow, patiently
from strait_cli.table import safe
from strait_cli.watch import clock_of, say_lost
from strait_core.errors import DeadlineError, RunFailedError, StraitError

# States in which a workflow run stays.
OVER: Final = frozenset({"completed", "failed", "timed_out", "canceled", "compensated", "compensation_failed"})


@dataclass(slots=True)
class Seen:
    """What has been told of a workflow run, so that a reconnect tells nothing twice, and nothing that is older.

    `seq`: the run's, as far as it was told. `steps`: of each the last state and its time. `moves`: all that were told.
    """

    run_id: str
    status: str = ""
    seq: int = 0
    steps: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    moves: set[tuple[str, str, str | None]] = field(default_factory=set)
    run: dict[str, Any] = field(default_factory=dict)

    def news(self, message: Message) -> dict[str, Any] | None:
        """The change a message tells of, None when it has been told."""
        try:
            data = exact.loads(message.data)
            match message.event:
                case "snapshot":
                    self.run, self.seq = data, max(self.seq, data["seq"])
                    is_new, self.status = data["status"] != self.status, data["status"]
                    return {"event": "snapshot", "run": data} if is_new else None
                case "status":
                    # A start that nobody saw bears the place before it: a poll may have told what came of it.
                    seq = int((message.id or "0").partition(".")[0])
                    is_new, self.seq = data["status"] != self.status and seq >= self.seq, max(self.seq, seq)
                    self.status = data["status"] if is_new else self.status
                    return {"event": "status", **data} if is_new else None
                case "step" if self.step(data["step_ref"], data["state"], data["at"]):
                    return {"event": "step", **data}
        except (ValueError, KeyError, TypeError) as error:
            raise StraitError(f"the server sent a stream event that makes no sense: {error!r}") from error
        return None

    def step(self, ref: str, state: str, at: str | None) -> bool:
        """Note a step's move; whether it is news: neither told already nor older than what was told of that step."""
        _, last = self.steps.get(ref, ("", None))
        is_older = at is not None and last is not None and datetime.fromisoformat(at) < datetime.fromisoformat(last)
        if is_older or (ref, state, at) in self.moves:
            return False
        self.steps[ref] = (state, at)
        self.moves.add((ref, state, at))
        return True


def changes(
    session: Session,
    seen: Seen,
    *,
    deadline: float | None,
    on_loss: Callable[[StraitError], None] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Any]]:
    """The changes of a workflow run until it is over; `deadline`, `on_loss` and `stop` as for runs."""
    stream = follow(
        session.api,
        path_of("workflow-runs", seen.run_id, "stream"),
        deadline=deadline,
        on_loss=on_loss or (lambda error: say_lost(session, error)),
        poll=lambda _: polling.of_workflow_run(session.api, seen.run_id),
        stop=stop,
    )
    for message in stream:
        change = seen.news(message)
        if change is not None and change["event"] == "snapshot" and seen.status in OVER:
            # It was over before anybody could follow it: its steps are read instead.
            yield from _steps(session, seen)
        if change is not None:
            yield change
        if seen.status in OVER:
            return


def _steps(session: Session, seen: Seen) -> Iterator[dict[str, Any]]:
    """Every step that has not been told as it stands, in the order of their times."""
    told = patiently(lambda: polling.standing(session.api, seen.run_id), on_loss=lambda error: say_lost(session, error))
    for ref, state, at in told:
        if seen.step(ref, state, at):
            yield {"event": "step", "step_ref": ref, "state": state, "at": at}


def watch(session: Session, run_id: str, timeout: float | None) -> dict[str, Any]:
    """Show a workflow run's changes until it is over; the run as it ended. Raises what the exit code should be."""
    deadline = None if timeout is None else time.monotonic() + timeout
    seen = Seen(run_id)
    path = path_of("workflow-runs", run_id)
    try:
        for change in changes(session, seen, deadline=deadline):
            session.out.change(change, line(session, change))
        run: dict[str, Any] = patiently(
            lambda: session.api.get(path), deadline=deadline, on_loss=lambda error: say_lost(session, error)
        )
    except Quiet:
        raise still(run_id, seen.status, timeout or 0) from None
    except KeyboardInterrupt:
        say_goes_on(session, run_id)
        raise
    return run


def still(run_id: str, status: str, timeout: float) -> DeadlineError:
    """The error for a workflow run that has not ended in time."""
    message = f"{run_id} had not ended after {round(timeout, 1):g} s: it is {status or 'unknown'}"
    return DeadlineError(message, hint=f"strait workflow-runs explain {run_id}")


def say_goes_on(session: Session, run_id: str) -> None:
    """Tell whoever leaves how to come back."""
    session.out.note(f"{run_id} goes on; to come back: strait workflow-runs watch {run_id}")


def judge(run: dict[str, Any]) -> None:
    """Raise RunFailedError unless the workflow run completed."""
    if run["status"] != "completed":
        why = f": {run['error']}" if run["error"] else ""
        raise RunFailedError(f"{run['id']} ended as {run['status']}{why}")


def line(session: Session, change: dict[str, Any]) -> str:
    """A change as one line: time, state, what it is about."""
    match change["event"]:
        case "step":
            at, state, text = change["at"], change["state"], change["step_ref"]
        case "snapshot":
            run = change["run"]
            at = run.get("finished_at") or run.get("started_at") or run["created_at"]
            state, text = run["status"], f"workflow {run['workflow_slug']}"
        case _:
            at, state, text = change.get("at"), change["status"], "the workflow run"
    at, state, text = safe(str(at or "")), safe(state), safe(text)
    if session.out.out.width is None:
        return f"{at}\t{state}\t{text}"
    return f"{clock_of(at)}  {session.out.paint(f'{state:<13}')} {text}".rstrip()
