"""Following one run to its end: what changed, one line each; how it ended, as an exit code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from strait_cli import exact, polling, times
from strait_cli.errors import Shown
from strait_cli.output import dump
from strait_cli.paths import path_of
from strait_cli.refs import run_id
from strait_cli.session import Session
from strait_cli.stream import PATIENCE_SECS, Message, Quiet, follow, patiently
from strait_cli.table import safe
from strait_core.errors import DeadlineError, RunFailedError, StraitError, UsageError
from strait_core.run import TERMINAL, Status

T = TypeVar("T")

# Cells of a line before what it says: a margin, the clock, the state.
_BEFORE: Final = 30


@dataclass(slots=True)
class Seen:
    """What has been shown of a run, so that a reconnect shows nothing twice.

    `known` is the run's seq as it was read: whoever begins behind it comes by ends that a replay has undone.
    """

    run_id: str
    status: str = ""
    seq: int = -1
    note: int = 0
    known: int = 0
    attempts: set[int] = field(default_factory=set)
    run: dict[str, Any] = field(default_factory=dict)

    def news(self, message: Message) -> dict[str, Any] | None:
        """The change a message tells of, None when it has been told."""
        try:
            data = exact.loads(message.data)
            match message.event:
                case "snapshot":
                    self.run = data
                    moved = self._move(int(data["seq"]), data["status"])
                    return {"event": "snapshot", "run": data} if moved else None
                case "status":
                    moved = self._move(_numbers(message.id)[0] or int(data.get("seq", self.seq + 1)), data["status"])
                    return {"event": "status", "seq": self.seq, **data} if moved else None
                case "log" | "progress" as event if self._noted(
                    _numbers(message.id)[1] or int(data.get("seq", self.note + 1))
                ):
                    return {"event": event, **data}
                case "attempt" if data["attempt"] not in self.attempts:
                    self.attempts.add(data["attempt"])
                    return {"event": "attempt", "run_id": self.run_id, **data}
        except (ValueError, KeyError, TypeError) as error:
            raise StraitError(f"the server sent a stream event that makes no sense: {error!r}") from error
        return None

    def _move(self, seq: int, status: str) -> bool:
        if seq <= self.seq:
            return False
        self.seq, self.status = seq, status
        return True

    def _noted(self, number: int) -> bool:
        if number <= self.note:
            return False
        self.note = number
        return True

    @property
    def is_over(self) -> bool:
        """Whether what was seen last is the run's end, as far as anybody knows."""
        return self.status in TERMINAL and self.seq >= self.known

    @property
    def last_id(self) -> str | None:
        """The stream's id of what was seen last; None when nothing was."""
        if self.seq <= 0:
            return None
        return f"{self.seq}.{self.note}" if self.note else str(self.seq)


def _numbers(identity: str | None) -> tuple[int, int]:
    """The seq and the number of the last note in an event's id; 0 = it has none."""
    seq, _, note = (identity or "0").partition(".")
    return int(seq), int(note or 0)


def parse_until(text: str | None) -> frozenset[str]:
    """The states of `--until`, comma-separated; empty when not given."""
    states = frozenset(part.strip() for part in (text or "").split(",") if part.strip())
    for state in sorted(states - {one.value for one in Status}):
        raise UsageError(f'--until: "{state}" is no state', hint=", ".join(Status))
    return states


def changes(
    session: Session,
    seen: Seen,
    *,
    until: frozenset[str],
    deadline: float | None,
    on_loss: Callable[[StraitError], None] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Any]]:
    """The changes of a run until it is terminal or in one of the states `until`, over any number of connections.

    What `seen` knows already is not told again: a seen run is followed from its `seq` on, past the ends that were
    before `seen.known`. `on_loss` is told of a lost connection, by default the person at the terminal. Setting `stop`
    ends it.
    """
    stream = follow(
        session.api,
        path_of("runs", seen.run_id, "stream"),
        since=seen.last_id,
        deadline=deadline,
        on_loss=on_loss or (lambda error: say_lost(session, error)),
        poll=lambda _: polling.of_run(session.api, seen),
        stop=stop,
    )
    for message in stream:
        change = seen.news(message)
        if change is not None:
            yield change
        # The attempt that ended a run is told before the end; a finished run's snapshot is the end itself.
        if seen.is_over or (seen.status in until and seen.status not in TERMINAL):
            return


def say_lost(session: Session, error: StraitError) -> None:
    """Tell why nothing moves for a while."""
    session.out.note(f"{error.message}; trying again for up to {PATIENCE_SECS:.0f} s")


def watch(
    session: Session,
    ref: str,
    *,
    run: dict[str, Any] | None = None,
    until: str | None = None,
    timeout: float | None = None,
) -> None:
    """Show a run's changes until its end, then its outcome; raises what the exit code should be.

    `ref` is what the user typed; `run` is the run itself where it is known already.
    """
    states = parse_until(until)
    deadline = None if timeout is None else time.monotonic() + timeout
    seen = Seen(ref)
    try:
        if run is None:
            run = find(session, ref, deadline)
        for change in beginning(seen, run, whole=not session.out.is_json):
            session.out.change(change, line(session, change))
        run = _to_the_end(session, seen, states, deadline)
    except Quiet:
        raise still(seen.run_id, seen.status, timeout or 0) from None
    except KeyboardInterrupt:
        say_goes_on(session, seen.run_id)
        raise
    finish(session, run, reached=seen.status in states)


def _to_the_end(session: Session, seen: Seen, states: frozenset[str], deadline: float | None) -> dict[str, Any]:
    """Show a run's changes until its end, or one of the states; the run as it is then."""
    while True:
        if not seen.is_over and (seen.status not in states or seen.status in TERMINAL):
            for change in changes(session, seen, until=states, deadline=deadline):
                session.out.change(change, line(session, change))
        run = find(session, seen.run_id, deadline)
        if seen.status in states or not goes_on(seen, run):
            return run


def goes_on(seen: Seen, run: dict[str, Any]) -> bool:
    """Whether a run that was followed to its end has been replayed before it was read; `seen` then knows."""
    if run["status"] in TERMINAL or run["seq"] <= seen.seq:
        return False
    seen.known = run["seq"]
    return True


def find(session: Session, ref: str, deadline: float | None) -> dict[str, Any]:
    """The run that `ref` names, waited for while the server is away; raises Quiet past the deadline."""
    identity = asked(session, lambda: run_id(session.api, ref), deadline)
    run: dict[str, Any] = asked(session, lambda: session.api.get(path_of("runs", identity)), deadline)
    return run


def asked(session: Session, call: Callable[[], T], deadline: float | None = None) -> T:
    """What `call` returns, tried again while the server is away, which is told; raises Quiet past the deadline."""
    return patiently(call, deadline=deadline, on_loss=lambda error: say_lost(session, error))


def in_time(session: Session, call: Callable[[], T], deadline: float | None, timeout: float | None) -> T:
    """The same for whoever has nothing to tell before it: raises DeadlineError past the deadline."""
    try:
        return asked(session, call, deadline)
    except Quiet:
        server = session.layers.value("server").text
        raise DeadlineError(f"{server} did not answer within {timeout or 0:g} s", hint="strait doctor") from None


def still(run: str, status: str, timeout: float) -> DeadlineError:
    """The error for a run that has not come to its end in time."""
    verb = "explain" if status in {Status.DELAYED, Status.QUEUED, Status.WAITING} else "watch"
    message = f"{run} is still {status or 'unknown'} after {timeout:g} s; it goes on"
    return DeadlineError(message, hint=f"strait runs {verb} {run}")


def say_goes_on(session: Session, run: str) -> None:
    """Tell whoever leaves how to come back."""
    session.out.note(f"{run} goes on; to come back: strait runs watch {run}")


def finish(session: Session, run: dict[str, Any], *, reached: bool) -> None:
    """Show how a watched run ended; raises what the exit code should be."""
    _show_end(session, run)
    judge(run, reached=reached, shown=session.out.is_json)


def beginning(seen: Seen, run: dict[str, Any], *, whole: bool = True) -> Iterator[dict[str, Any]]:
    """How a watch begins: with the run's creation, the `whole` path to follow; else with the run as it stands."""
    seen.run_id, seen.known = run["id"], run["seq"]
    if not whole:
        start = run
    else:
        delayed = run["scheduled_at"] is not None and run["scheduled_at"] > run["created_at"]
        began = {"status": Status.DELAYED if delayed else Status.QUEUED, "seq": 1, "attempt": 0}
        start = {**run, **began, "started_at": None, "finished_at": None}
    change = seen.news(Message("snapshot", exact.dumps(start), None))
    if change is not None:
        yield change


def judge(run: dict[str, Any], *, reached: bool, shown: bool) -> None:
    """Raise RunFailedError unless the run completed, or is in a state that was asked for."""
    if reached or run["status"] == Status.COMPLETED:
        return
    message = f"{run['id']} ended {run['status']}"
    if run.get("error"):
        message += f": {run['error']}"
    error = RunFailedError(message, hint=f"strait runs attempts {run['id']}")
    if shown:
        raise error from Shown()
    raise error


def line(session: Session, change: dict[str, Any]) -> str:
    """A change as one line: time, state, what there is to say."""
    match change["event"]:
        case "attempt":
            cells = [
                change.get("finished_at"),
                f"attempt {change['attempt']}",
                attempt_text(change, session.out.out.width),
            ]
        case "log":
            data = "" if change.get("data") is None else f"  {dump(change['data'])}"
            cells = [change["at"], change["level"], change["message"] + data]
        case "progress":
            percent = None if change["percent"] is None else f"{change['percent']:g} %"
            cells = [change["at"], "progress", "  ".join(part for part in (percent, change["message"]) if part)]
        case "snapshot":
            run = change["run"]
            at = run.get("finished_at") or run.get("started_at") or run["created_at"]
            of = f"attempt {run['attempt']} of {run['max_attempts']}, " if run["attempt"] else ""
            cells = [at, run["status"], f"{of}job {run['job_slug']}"]
        case _:
            attempt = f"attempt {change['attempt']}" if change["attempt"] else ""
            cells = [change.get("at"), change["status"], change.get("reason") or attempt]
    at, name, text = (safe(str(part or "")) for part in cells)
    if session.out.out.width is None:
        return f"{at}\t{name}\t{text}"
    return f"{clock_of(at)}  {session.out.paint(f'{name:<13}')} {text}".rstrip()


def attempt_text(change: dict[str, Any], width: int | None) -> str:
    """How an attempt went; its phases as far as a terminal's line has room for them, None = no bound."""
    timings = change.get("timings_ms") or {}
    took = {name: timings[name] for name in ("connect", "ttfb", "transfer") if timings.get(name) is not None}
    total = timings.get("total")
    text = change.get("error") or (f"HTTP {change['http_status']}" if change.get("http_status") else change["outcome"])
    text = str(text)
    if total is not None:
        text += f" after {total:.0f} ms"
    for phases in (took, {name: ms for name, ms in took.items() if ms >= 1}):
        whole = f"{text} ({', '.join(f'{name} {ms:.0f}' for name, ms in phases.items())} ms)"
        if phases and (width is None or len(whole) <= width - _BEFORE):
            return whole
    return text


def clock_of(at: str) -> str:
    """A time of day in this place, to the millisecond."""
    when = times.parse(at)
    return f"{when.astimezone():%H:%M:%S}.{when.microsecond // 1000:03}" if when else " " * 12


def _show_end(session: Session, run: dict[str, Any]) -> None:
    out = session.out
    if out.is_json and out.view.format == "jsonl":
        out.item({"event": "end", "run": run})
    elif out.is_raw or out.view.format not in {"table", "wide"}:
        out.item(run)
    else:
        attempts = f"{run['attempt']} attempt{'s' if run['attempt'] != 1 else ''}"
        took = _took(run)
        out.line(f"{out.paint(run['status'])} after {attempts}{f' in {took}' if took else ''}")
        if run.get("result") is not None:
            out.line(f"result: {dump(run['result'])}")


def _took(run: dict[str, Any]) -> str | None:
    began, ended = (times.parse(run.get(name) or "") for name in ("created_at", "finished_at"))
    if not isinstance(began, datetime) or not isinstance(ended, datetime):
        return None
    return times.length((ended - began).total_seconds())
