"""`strait wait`: `strait runs wait`, for workflow runs too."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any, Final

import typer

from strait_cli.columns import WORKFLOW_RUN
from strait_cli.commands import runs
from strait_cli.commands.runs import Timeout
from strait_cli.paths import path_of
from strait_cli.progress import Progress
from strait_cli.refs import workflow_run_id
from strait_cli.session import Session
from strait_cli.verbs import leaf, verb
from strait_core.errors import RunFailedError

Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN", help="Ids of runs or workflow runs, prefixes, @last or @failed; several at once."),
]

app = leaf()


@verb(app, "wait", examples=("strait wait @last", "strait wait run_01hzy wfr_01hzz --timeout 120"))
def wait(session: Session, runs_: Runs, timeout: Timeout = None) -> None:
    """Wait silently until all the runs and workflow runs have ended; exit 0 when every one completed, else 9."""
    flows = [one for one in runs_ if one.startswith("wfr_")]
    begun = time.monotonic()
    if rest := [one for one in runs_ if one not in flows]:
        runs.wait(session, rest, timeout)
    if flows:
        left = None if timeout is None else max(timeout - (time.monotonic() - begun), 0.0)
        _wait(session, flows, left)


def _wait(session: Session, refs: list[str], timeout: float | None) -> None:
    from strait_cli import flow_watch  # noqa: PLC0415 - streams, for workflow runs only
    from strait_cli.stream import Quiet  # noqa: PLC0415
    from strait_cli.watch import in_time  # noqa: PLC0415

    deadline = None if timeout is None else time.monotonic() + timeout
    ids = [in_time(session, partial(workflow_run_id, session.api, one), deadline, timeout) for one in refs]
    ended: list[dict[str, Any]] = []
    with Progress(session, "ended", len(ids)) as progress:
        for at, one in enumerate(ids, 1):
            seen = flow_watch.Seen(one)
            try:
                for _ in flow_watch.changes(session, seen, deadline=deadline):
                    pass
            except Quiet:
                raise flow_watch.still(one, seen.status, timeout or 0) from None
            except KeyboardInterrupt:
                session.out.note(f"the workflow runs go on; to come back: strait wait {' '.join(ids)}")
                raise
            get = partial(session.api.get, path_of("workflow-runs", one))
            ended.append(in_time(session, get, deadline, timeout))
            progress.at(at)
    session.out.items(ended, WORKFLOW_RUN)
    failed = [one["id"] for one in ended if one["status"] != "completed"]
    if failed:
        raise RunFailedError(f"{len(failed)} of {len(ended)} did not complete: {' '.join(failed)}")


APPS: Final = {"wait": app}
