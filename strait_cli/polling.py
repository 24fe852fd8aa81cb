"""What runs and workflow runs come to, asked for where no stream is to be had.

The messages are those of the streams. For single ones they have no id: they do not move the place from which the next
stream goes on, and what that tells again, or of earlier, is left out by whoever has seen it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from strait_cli import exact
from strait_cli.client import PAGE, Client
from strait_cli.paths import path_of
from strait_cli.stream import Message
from strait_core.errors import GoneError, NotFoundError
from strait_core.run import Status
from strait_core.wire.changes import Kind, spell_cursor, split_number

if TYPE_CHECKING:
    from strait_cli.watch import Seen

Row = dict[str, Any]
_ALL: Final = 100_000
# Behind all entries of a position in the feed of changes.
_ALL_ENTRIES: Final = 2**31 - 1
# Workflow runs whose states are kept; of one that was forgotten its state may be told again.
_STATES: Final = 10_000


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


class Moves:
    """The moves of all runs and workflow runs, narrowed as their stream would be, from the feed of changes.

    `job` and `workflow` are slugs or ids, `states` those to be told of, None = all. Each message has an id from which
    the stream goes on, and the other way round.
    """

    def __init__(self, client: Client, job: str | None, workflow: str | None, states: str | None) -> None:
        self._client = client
        self._named = {"job": job, "workflow": workflow}
        self._states = None if states is None else frozenset(states.split(","))
        self._slugs: dict[str, str] = {}
        # Of workflow runs the last states: they also change with their steps.
        self._states_of: dict[str, str] = {}

    def behind(self, last_id: str | None) -> Iterator[Message]:
        """What has come behind an id, page after page; without one it is only told where the feed stands now."""
        cursor = None if last_id is None else _cursor_of(last_id)
        kinds = f"{Kind.RUN},{Kind.WORKFLOW_RUN}"
        while True:
            query = {"cursor": cursor, "start": "latest" if cursor is None else None, "kind": kinds, "limit": PAGE}
            page = self._page(query)
            for one in page["data"]:
                move = self._move(one)
                yield Message("status", "" if move is None else exact.dumps(move), _id_of(one["cursor"]))
            cursor = page["next_cursor"]
            yield Message("", "", _id_of(cursor))
            if not page["has_more"]:
                return

    def _page(self, query: Row) -> Row:
        try:
            page: Row = self._client.get(path_of("changes"), query)
        except GoneError:
            # As the stream does: what is not kept any more cannot be told.
            page = self._client.get(path_of("changes"), {**query, "cursor": None, "start": "oldest"})
        return page

    def _move(self, change: Row) -> Row | None:
        """A change as the stream tells it; None when it is no move, or nobody wants it."""
        noun = "job" if change["kind"] == Kind.RUN else "workflow"
        if noun == "workflow":
            before, self._states_of[change["id"]] = self._states_of.pop(change["id"], None), change["status"]
            if len(self._states_of) > _STATES:
                del self._states_of[next(iter(self._states_of))]
            if before == change["status"]:
                return None
        if self._states is not None and change["status"] not in self._states:
            return None
        owner = change[f"{noun}_id"]
        slug = self._slug(noun, owner)
        if any(self._named.values()) and self._named[noun] not in {owner, slug}:
            return None
        whose = {f"{noun}_id": owner, f"{noun}_slug": slug, "project_id": change["project_id"]}
        told = {name: change[name] for name in ("status", "at", "seq")}
        if noun == "job":
            return {"run_id": change["id"], **told, "attempt": change["attempt"] or 0, **whose}
        return {"workflow_run_id": change["id"], **told, **whose}

    def _slug(self, noun: str, owner: str) -> str:
        if owner not in self._slugs:
            try:
                self._slugs[owner] = self._client.get(path_of(f"{noun}s", owner))["slug"]
            except NotFoundError:
                self._slugs[owner] = ""
        return self._slugs[owner]


def _cursor_of(last_id: str) -> str:
    """The place in the feed of changes behind which an id of the stream lies: its life, its number, its position."""
    life, number, position = map(int, last_id.split("."))
    return spell_cursor(position, _ALL_ENTRIES if life else number)


def _id_of(cursor: str) -> str:
    """The id from which the stream goes on behind a place in the feed of changes."""
    position, entry = split_number(int.from_bytes(urlsafe_b64decode(f"{cursor}==")))
    return f"0.{entry}.{position}"


def _message(event: str, data: Row) -> Message:
    return Message(event, exact.dumps(data), None)
