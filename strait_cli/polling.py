"""What single runs and workflow runs come to, asked for where no stream is to be had.

The messages are those of the streams without an id: they do not move the place from which the next stream goes on, and
what that tells again is left out by whoever has seen it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from strait_cli import exact
from strait_cli.client import Client
from strait_cli.paths import path_of
from strait_cli.stream import Message
from strait_core.run import Status

if TYPE_CHECKING:
    from strait_cli.watch import Seen

Row = dict[str, Any]
_ALL: Final = 100_000


def of_run(client: Client, seen: Seen) -> Iterator[Message]:
    """What has come to a run behind `seen`: its states, and in front of each what led to it; a snapshot at first."""
    path = path_of("runs", seen.run_id)
    run = client.call("GET", path, once=True)
    if seen.seq < 1:
        yield _message("snapshot", run)
        return
    # Read after the run: whatever led to the states up to its own is there.
    notes = [("log", one) for one in client.pages(f"{path}/logs", {"after": seen.note or None}, limit=_ALL)]
    steps: list[Row] = []
    if run["seq"] > seen.seq:
        steps = [one for one in client.pages(f"{path}/events", limit=_ALL) if seen.seq < one["seq"] <= run["seq"]]
        ended = [one for one in client.pages(f"{path}/attempts", limit=_ALL) if one["outcome"] is not None]
        notes += [("attempt", one) for one in ended if one["attempt"] not in seen.attempts]
        notes.sort(key=lambda note: note[1]["attempt"])
    for step in steps:
        yield from (_message(*note) for note in notes if _led_to(step, note[1]))
        notes = [note for note in notes if not _led_to(step, note[1])]
        reason = {"reason": step["reason"]} if step["status"] == Status.WAITING else {}
        told = {name: step[name] for name in ("seq", "status", "attempt", "at")}
        yield _message("status", {"run_id": seen.run_id, **told, **reason})
    yield from (_message(*note) for note in notes if note[0] == "log")


def _led_to(step: Row, note: Row) -> bool:
    """Whether a line, or an attempt's end, is of an attempt that was over, or at rest, when the step was made."""
    begun: int = step["attempt"] - (step["status"] == Status.EXECUTING)
    return bool(note["attempt"] <= begun)


def of_workflow_run(client: Client, run_id: str) -> Iterator[Message]:
    """A workflow run as it stands, and then its steps that have begun, in the order of their times."""
    yield _message("snapshot", client.call("GET", path_of("workflow-runs", run_id), once=True))
    for ref, state, at in standing(client, run_id):
        if at is not None:
            yield _message("step", {"step_ref": ref, "state": state, "at": at})


def standing(client: Client, run_id: str) -> list[tuple[str, str, str | None]]:
    """Every step of a workflow run: its name, its state, when it ended or else began; in the order of these times."""
    found = list(client.pages(path_of("workflow-runs", run_id, "steps"), limit=_ALL))
    moves = [(one["step_ref"], one["status"], one["finished_at"] or one["started_at"]) for one in found]
    return sorted(moves, key=lambda one: one[2] or "")


def _message(event: str, data: Row) -> Message:
    return Message(event, exact.dumps(data), None)
