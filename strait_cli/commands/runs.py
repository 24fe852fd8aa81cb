"""`strait runs`: single executions of jobs."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any, Final

import typer

from strait_cli.ask import confirm
from strait_cli.columns import ATTEMPT, EVENT, RUN
from strait_cli.commands import lineage, many_runs, run_logs
from strait_cli.filters import DEAD, NARROWING, query_of
from strait_cli.paths import path_of
from strait_cli.progress import Progress
from strait_cli.refs import filters, run_id
from strait_cli.session import Session
from strait_cli.table import safe
from strait_cli.verbs import noun, verb
from strait_core.errors import DeadlineError, RunFailedError, UsageError
from strait_core.run import TERMINAL, Status

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id, unique prefix of one, @last or @failed.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN", help="Ids, prefixes, @last or @failed.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="Give up after so many seconds (exit 124).", min=0, metavar="SECS"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

# Where a run may be for a reason worth asking for.
_HELD: Final = frozenset({Status.DELAYED, Status.QUEUED, Status.WAITING})
# Attempts are bounded by max_attempts and replays: a list of them is shown whole.
_ALL: Final = 100_000


def _filter(name: str, text: str, metavar: str = "TEXT") -> Any:
    return typer.Option(name, help=text, metavar=metavar, show_default=False)


app = noun("List, watch, cancel and replay runs: single executions of jobs.")


@verb(
    app,
    "list",
    extra=NARROWING,
    examples=(
        "strait runs list",
        "strait runs list --job hello --status failed,dead_letter --limit 20",
        "strait runs list --created-after 2030-01-31T00:00:00Z -o csv",
        "strait runs list --jq 'map(.status) | group_by(.) | map({(.[0]): length}) | add'",
    ),
)
def list_runs(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50,
    include: Annotated[
        str | None, _filter("--include", "Add payload, result or both: payload,result.", "FIELDS")
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """List runs, newest first."""
    query = query_of(filters(session.api, given)) | ({"include": include} if include else {})
    pages = session.api.pages("/v1/runs", query, limit=limit)
    session.out.items(pages, RUN)
    session.more(pages)


@verb(app, "get", examples=("strait runs get @last", "strait runs get run_01hzy --jq .result"))
def get(session: Session, run: Run) -> None:
    """Show a run with its payload and result."""
    found = session.api.get(_path(session, run))
    session.out.item(found, RUN)
    if session.out.is_human and found["status"] in _HELD:
        session.out.note(f"why it is not running: strait runs explain {found['id']}")


@verb(
    app,
    "watch",
    examples=(
        "strait runs watch @last",
        "strait runs watch run_01hzy --timeout 60",
        "strait runs watch run_01hzy --until executing -o jsonl",
    ),
)
def watch(
    session: Session,
    run: Run,
    timeout: Timeout = None,
    until: Annotated[str | None, _filter("--until", "Stop at one of these states too (exit 0): a,b.", "STATES")] = None,
    *,
    plain: Annotated[bool, typer.Option("--plain", help="One line per change, on a terminal too.")] = False,
) -> None:
    """Follow a run to its end: exit 0 when it completed, 9 when it ended otherwise.

    On a terminal it fills the screen: the path, attempts with their times, logs, payload and result; ? shows the keys.
    With --plain, another format or no terminal it prints a line per change. Survives a restart of the daemon. Leaving
    (q, Ctrl-C) leaves the run alone.
    """
    if not plain and session.has_screen:
        from strait_cli.tui.opening import watch_run  # noqa: PLC0415 - textual, for this verb only

        watch_run(session, run, until=until, timeout=timeout)
        return
    from strait_cli import watch as watching  # noqa: PLC0415 - streams, for this verb only

    watching.watch(session, run, until=until, timeout=timeout)


@verb(
    app,
    "wait",
    examples=("strait runs wait @last", "strait runs wait run_01hzy run_01hzz --timeout 120"),
)
def wait(session: Session, runs: Runs, timeout: Timeout = None) -> None:
    """Wait silently until all the runs have ended; exit 0 when every one completed, else 9."""
    from strait_cli.stream import Quiet  # noqa: PLC0415 - as above
    from strait_cli.watch import in_time  # noqa: PLC0415

    deadline = None if timeout is None else time.monotonic() + timeout
    ids = [in_time(session, partial(run_id, session.api, one), deadline, timeout) for one in runs]
    ends: dict[str, dict[str, Any]] = {}
    try:
        with Progress(session, "ended", len(ids)) as progress:
            for at, one in enumerate(ids, 1):
                ends[one] = _end_of(session, one, deadline)
                progress.at(at)
    except Quiet:
        pass
    except KeyboardInterrupt:
        session.out.note(f"the runs go on; to come back: strait runs wait {' '.join(ids)}")
        raise
    late = [one for one in ids if one not in ends]
    ends |= {one: in_time(session, partial(session.api.get, path_of("runs", one)), deadline, timeout) for one in late}
    ended = [ends[one] for one in ids]
    session.out.items(ended, RUN)
    _judge(ended, timeout)


def _end_of(session: Session, one: str, deadline: float | None) -> dict[str, Any]:
    """The run once it has ended; raises Quiet past the deadline."""
    from strait_cli.watch import Seen, changes, find, goes_on  # noqa: PLC0415 - as above

    seen = Seen(one)
    while True:
        for _ in changes(session, seen, until=frozenset(), deadline=deadline):
            pass
        run = find(session, one, deadline)
        if not goes_on(seen, run):
            return run


def _judge(ended: list[dict[str, Any]], timeout: float | None) -> None:
    active = [one["id"] for one in ended if one["status"] not in TERMINAL]
    failed = [one["id"] for one in ended if one["status"] in TERMINAL and one["status"] != Status.COMPLETED]
    if failed:
        raise RunFailedError(f"{len(failed)} of {len(ended)} did not complete: {' '.join(failed)}")
    if active:
        raise DeadlineError(f"{len(active)} of {len(ended)} had not ended after {timeout:g} s: {' '.join(active)}")


@verb(app, "attempts", examples=("strait runs attempts @failed", "strait runs attempts run_01hzy -o wide"))
def attempts(session: Session, run: Run) -> None:
    """List a run's attempts: how each ended and where its time went."""
    session.out.items(session.api.pages(f"{_path(session, run)}/attempts", limit=_ALL), ATTEMPT, name="attempt")


@verb(app, "events", examples=("strait runs events @last",))
def events(session: Session, run: Run) -> None:
    """Show the path a run took through its states."""
    session.out.items(session.api.pages(f"{_path(session, run)}/events", limit=_ALL), EVENT, name="event")


@verb(app, "explain", examples=("strait runs explain @last", "strait runs explain run_01hzy -o json"))
def explain(session: Session, run: Run) -> None:
    """Say why a run is not running: everything that holds it, and until when."""
    told = session.api.get(f"{_path(session, run)}/explain")
    if session.out.view.format in {"table", "wide"} and not session.out.is_raw and not session.out.view.fields:
        session.out.line(
            f"{safe(told['run_id'])} of job {safe(told['job_slug'])} is {session.out.paint(told['status'])}"
        )
        for reason in told["reasons"]:
            session.out.reason(reason)
    else:
        session.out.item(told, name="run_id")


@verb(app, "cancel", examples=("strait runs cancel @last", "strait runs cancel run_01hzy run_01hzz --yes"))
def cancel(session: Session, runs: Runs, *, yes: Yes = False) -> None:
    """Cancel runs; one that executes has its request cut off."""
    found = [session.api.get(_path(session, one)) for one in runs]
    names = ", ".join(f"{one['id']} ({one['job_slug']}, {one['status']})" for one in found)
    confirm(f"cancel {names}", yes=yes)
    session.out.items([session.api.post(path_of("runs", one["id"], "cancel")) for one in found], RUN)


@verb(app, "replay", examples=("strait runs replay @failed", "strait runs replay run_01hzy --wait"))
def replay(
    session: Session,
    run: Run,
    timeout: Timeout = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the run to its end.")] = False,
) -> None:
    """Run a failed run again: same id, fresh attempts, history kept."""
    if timeout is not None and not wait:
        raise UsageError("--timeout goes with --wait")
    again = session.api.post(f"{_path(session, run)}/replay")
    if not wait:
        session.out.item(again, RUN, row=True)
        return
    from strait_cli import watch as watching  # noqa: PLC0415 - as above

    watching.watch(session, again["id"], run=again, timeout=timeout)


verb(
    app,
    "reschedule",
    examples=("strait runs reschedule @last --in 5m", "strait runs reschedule run_01hzy --at 2030-01-31T09:00:00Z"),
)(many_runs.reschedule)
verb(
    app,
    "dlq",
    extra=DEAD,
    examples=("strait runs dlq", "strait runs dlq --job hello --error-class server -o wide"),
)(many_runs.dlq)
verb(
    app,
    "bulk-cancel",
    extra=NARROWING,
    examples=("strait runs bulk-cancel --job hello --dry-run", "strait runs bulk-cancel run_01hzy run_01hzz --yes"),
)(many_runs.bulk_cancel)
verb(
    app,
    "bulk-replay",
    extra=NARROWING,
    examples=(
        "strait runs bulk-replay --status dead_letter --job hello --dry-run",
        "strait runs bulk-replay --created-after 2030-01-31T00:00:00Z --yes",
    ),
)(many_runs.bulk_replay)
verb(
    app,
    "export",
    extra=NARROWING,
    examples=(
        "strait runs export runs.jsonl --job hello --include payload,result",
        "strait runs export failed.csv --status failed,dead_letter",
    ),
)(many_runs.export)


verb(
    app,
    "logs",
    examples=(
        "strait runs logs @last",
        "strait runs logs run_01hzy -f",
        "strait runs logs @failed --level error -o jsonl",
    ),
)(run_logs.logs)
verb(app, "lineage", examples=lineage.EXAMPLES)(lineage.lineage)


def _path(session: Session, run: str) -> str:
    return path_of("runs", run_id(session.api, run))


APPS: Final = {"runs": app}
