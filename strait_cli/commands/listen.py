"""`strait listen`: the moves of all runs and workflow runs as they happen."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from strait_cli.refs import filters
from strait_cli.session import Session
from strait_cli.table import safe
from strait_cli.verbs import leaf, verb
from strait_core.errors import StraitError

app = leaf()


def _option(name: str, text: str, metavar: str) -> Any:
    return typer.Option(name, help=text, metavar=metavar, show_default=False)


@verb(
    app,
    "listen",
    examples=(
        "strait listen",
        "strait listen --job hello --status failed,dead_letter",
        "strait listen --limit 10 -o jsonl",
    ),
)
def listen(
    session: Session,
    job: Annotated[str | None, _option("--job", "Only runs of this job: slug or id.", "JOB")] = None,
    workflow: Annotated[
        str | None, _option("--workflow", "Only runs of this workflow: slug or id.", "WORKFLOW")
    ] = None,
    status: Annotated[str | None, _option("--status", "Only moves to these states: a,b.", "STATES")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Leave after so many.", metavar="N")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Leave after so long.", metavar="SECS")
    ] = None,
) -> None:
    """Show every state that runs and workflow runs come to, from now on, a line each.

    It goes on until Ctrl-C, and survives a restart of the daemon without losing what happened meanwhile.
    """
    given = {"job_id": job, "workflow_id": workflow, "status": status}
    asked = filters(session.api, {name: value for name, value in given.items() if value is not None})
    deadline = None if timeout is None else time.monotonic() + timeout
    for number, move in enumerate(_moves(session, asked, deadline), 1):
        session.out.change(move, line(session, move))
        if number == limit:
            return


def _moves(session: Session, asked: dict[str, str], deadline: float | None) -> Iterator[dict[str, Any]]:
    """The feed's events, until the time is up; one that is told again after a loss is left out."""
    from strait_cli import exact  # noqa: PLC0415 - streams, for this verb only
    from strait_cli.polling import Moves  # noqa: PLC0415
    from strait_cli.stream import Quiet, follow  # noqa: PLC0415
    from strait_cli.watch import say_lost  # noqa: PLC0415

    told, query = _Told(every_state="status" not in asked), urlencode(asked)
    polled = Moves(session.api, asked.get("job_id"), asked.get("workflow_id"), asked.get("status"))
    try:
        for message in follow(
            session.api,
            f"/v1/stream?{query}" if query else "/v1/stream",
            poll=polled.behind,
            deadline=deadline,
            on_loss=lambda error: say_lost(session, error),
            patience=_PATIENCE_SECS,
        ):
            if message.event != "status":
                continue
            try:
                data = exact.loads(message.data)
            except ValueError as error:
                raise StraitError(f"the server sent a stream event that makes no sense: {error!r}") from error
            if "seq" not in data or told.is_new(data):
                yield {"event": message.event, **data}
    except Quiet:
        return


class _Told:
    """The last moves that were shown: seqs of runs; of workflow runs, whose seqs move with their steps too, the last
    state and its seq.
    """

    def __init__(self, *, every_state: bool) -> None:
        # Where only some states are asked for, one may come again without what was in between.
        self._every_state = every_state
        self._moves: OrderedDict[tuple[Any, ...], tuple[int, str]] = OrderedDict()

    def is_new(self, move: dict[str, Any]) -> bool:
        """Whether it was not shown yet."""
        key = (move["run_id"], move["seq"]) if "run_id" in move else (move.get("workflow_run_id"),)
        (seq, before), state = self._moves.get(key, (-1, "")), str(move["status"])
        if move["seq"] <= seq:
            return False
        self._moves[key] = (move["seq"], state)
        if len(self._moves) > _REMEMBERED:
            self._moves.popitem(last=False)
        return state != before or not self._every_state


def line(session: Session, move: dict[str, Any]) -> str:
    """A move as one line: when, the state, whose it is."""
    from strait_cli.watch import clock_of  # noqa: PLC0415 - as above

    identity = safe(str(move.get("run_id") or move.get("workflow_run_id")))
    slug = safe(str(move.get("job_slug") or move.get("workflow_slug")))
    text = safe(str(move.get("reason") or (f"attempt {move['attempt']}" if move.get("attempt") else "")))
    at, state = safe(str(move["at"])), safe(move["status"])
    if session.out.out.width is None:
        return f"{at}\t{state}\t{slug}\t{identity}\t{text}"
    return f"{clock_of(at)}  {session.out.paint(f'{state:<13}')} {session.out.bold(slug)}  {identity}  {text}".rstrip()


# A quiet feed says nothing for fifteen seconds at a time, and a daemon may take a while to come back.
_PATIENCE_SECS: Final = 60.0
# Far more moves than a server tells again.
_REMEMBERED: Final = 20_000

APPS: Final = {"listen": app}
