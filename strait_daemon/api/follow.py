"""What has happened to a run since a stream last looked, in the order in which it happened, as events of the stream.

An event's id is the run's seq, and behind a dot the number of the last note (a log line, a report of progress) once
there is one; both only ever grow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, takewhile
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import asdict

from strait_core.path import Step
from strait_core.run import TERMINAL, Status
from strait_core.wire.notes import LogLine, Progress
from strait_daemon.api import notes, shape, sse
from strait_daemon.api.looks import Looks

# Lines that one look reads; while there are more, the next look follows at once.
LINES: Final = 1_000
_ID: Final = re.compile(rb"([1-9]\d{0,8})(?:\.(\d{1,9}))?\Z")


class StatusData(Struct, omit_defaults=True):
    """Data of a `status` event; `reason` says what a waiting run waits for."""

    run_id: str
    status: Status
    attempt: int
    at: datetime
    reason: str | None = None


class LogData(LogLine, kw_only=True):
    """Data of a `log` event."""

    run_id: str


class ProgressData(Progress, kw_only=True):
    """Data of a `progress` event."""

    run_id: str


@dataclass(slots=True)
class Sent:
    """How far a stream has come; `behind` when more is known to follow."""

    run_id: UUID
    text: str
    seq: int
    note: int
    over: bool = False
    behind: bool = False


def read_id(header: bytes | None) -> tuple[int, int] | None:
    """The seq and the note of a `Last-Event-ID`; None when it is none of ours."""
    match = _ID.match(header or b"")
    return None if match is None else (int(match[1]), int(match[2] or 0))


def identity(seq: int, note: int) -> bytes:
    """The id of an event of a run's stream."""
    return b"%d.%d" % (seq, note) if note else b"%d" % seq


async def news(looks: Looks, sent: Sent, crowd: int) -> bytes:
    """The frames of everything since the last look; `sent` is brought up to date. `crowd` streams are open."""
    sent.behind = False
    look = await looks.at(sent.run_id, crowd)
    if look is None:
        return b""
    head, course = look
    if head.standing.seq <= sent.seq and head.note_seq <= sent.note:
        return b""
    lines = await looks.lines(sent.run_id, after=sent.note, limit=LINES) if head.note_seq > sent.note else []
    closed = {row["seq"]: row for row in course.attempts}
    steps = [step for step in course.steps if step.seq > sent.seq]
    if len(lines) == LINES:
        # An end is told behind all that was said before it; so is what followed, when the run was replayed.
        sent.behind = True
        steps = list(takewhile(lambda step: step.status not in TERMINAL, steps))
        head_progress = None
    else:
        head_progress = head.progress
    noted = _noted(sent, lines, head_progress)
    frames = b"".join(_frames(sent, steps, closed, noted))
    if not sent.behind:
        sent.note = max(sent.note, head.note_seq)
        sent.over = head.standing.status in TERMINAL
    return frames


def _noted(
    sent: Sent, lines: list[dict[str, Any]], progress: dict[str, Any] | None
) -> list[tuple[datetime, int, bytes, Any]]:
    """Lines and the last report of progress, in the order of their numbers, no time before the one that came first."""
    noted: list[tuple[datetime, int, bytes, Any]] = [
        (row["at"], row["seq"], b"log", LogData(run_id=sent.text, **asdict(notes.line(row)))) for row in lines
    ]
    shaped = notes.progress(progress)
    if progress is not None and shaped is not None and progress["seq"] > sent.note:
        noted.append((shaped.at, progress["seq"], b"progress", ProgressData(run_id=sent.text, **asdict(shaped))))
        noted.sort(key=lambda note: note[1])
    # Lines that came by way of another process may bear a time a little before the line ahead of them.
    times = accumulate((note[0] for note in noted), max)
    return [(at, *note[1:]) for at, note in zip(times, noted, strict=True)]


def _frames(
    sent: Sent, steps: list[Step], closed: dict[int, Any], noted: list[tuple[datetime, int, bytes, Any]]
) -> Iterator[bytes]:
    """Steps and notes by time; a terminal step comes after every note."""
    waiting = iter(noted)
    note = next(waiting, None)
    for step in steps:
        while note is not None and (note[0] < step.at or step.status in TERMINAL):
            yield _note_frame(sent, note)
            note = next(waiting, None)
        if step.seq in closed:
            # Its id is that of the step before: whoever is cut off between the two gets both again, and loses none.
            yield sse.event(b"attempt", identity(step.seq - 1, sent.note), shape.attempt(closed[step.seq]))
        sent.seq = step.seq
        reason = step.reason if step.status is Status.WAITING else None
        told = StatusData(sent.text, step.status, step.attempt, step.at, reason)
        yield sse.event(b"status", identity(step.seq, sent.note), told)
    while note is not None:
        yield _note_frame(sent, note)
        note = next(waiting, None)


def _note_frame(sent: Sent, note: tuple[datetime, int, bytes, Any]) -> bytes:
    sent.note = note[1]
    return sse.event(note[2], identity(sent.seq, sent.note), note[3])
