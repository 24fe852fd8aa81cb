"""`strait workflow-runs`: single executions of workflows, and their steps."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from strait_cli import body, flow_words
from strait_cli.ask import confirm
from strait_cli.columns import STEP_TIME, WORKFLOW_RUN
from strait_cli.commands import drawing, many_workflow_runs, workflow_steps
from strait_cli.commands.trigger import Key, request_of
from strait_cli.paths import path_of
from strait_cli.refs import filters, workflow_ref, workflow_run_id
from strait_cli.session import Session
from strait_cli.table import safe
from strait_cli.verbs import noun, verb
from strait_core.errors import UsageError

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id, unique prefix of one, or @last.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="Give up after so many seconds (exit 124).", min=0, metavar="SECS"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _option(name: str, text: str, metavar: str = "TEXT") -> Any:
    return typer.Option(name, help=text, metavar=metavar, show_default=False)


app = noun("List, watch, pause, cancel and retry workflow runs, and decide their steps.")


def _path(session: Session, run: str) -> str:
    return path_of("workflow-runs", workflow_run_id(session.api, run))


def trigger(
    session: Session,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Slug or id.")],
    payload: Annotated[str | None, _option("--payload", "JSON, @file or -.", "JSON")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set one value in the payload: a.b=1.", metavar="PATH=VALUE"),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Switch a step off in this run.", metavar="STEP")
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", "--tags", help="A tag of the run.", metavar="KEY=VALUE")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", "--labels", help="A label of the run.", metavar="KEY=VALUE")
    ] = None,
    idempotency_key: Key = None,
    timeout: Timeout = None,
    *,
    edit: Annotated[bool, typer.Option("--edit", help="Write the payload in your editor.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the run to its end.")] = False,
) -> None:
    """Start a run of a workflow.

    With --wait it shows how the steps move, and ends like `strait workflow-runs watch`.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout goes with --wait")
    text = body.payload_text(payload, sets or (), edit=edit)
    fields: dict[str, Any] = {}
    if without:
        fields["step_overrides"] = [{"step_ref": ref, "enabled": False} for ref in without]
    fields |= {name: body.pairs(said, f"--{name}") for name, said in (("tags", tags), ("labels", labels)) if said}
    path = path_of("workflows", workflow_ref(session.api, workflow), "trigger")
    run = session.api.post(path, request_of(fields, text), key=idempotency_key)
    if wait:
        session.out.note(f"triggered {run['id']}")
        follow(session, run["id"], timeout)
        return
    session.out.item(run, WORKFLOW_RUN, row=True)
    session.out.note(f"watch it: strait workflow-runs watch {run['id']}")


@verb(
    app,
    "list",
    examples=("strait workflow-runs list", "strait workflow-runs list --workflow data-pipeline --status failed"),
)
def list_runs(
    session: Session,
    workflow: Annotated[str | None, _option("--workflow", "Only this workflow's: id or slug.", "WORKFLOW")] = None,
    status: Annotated[str | None, _option("--status", "One or more states: a,b.", "STATES")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50,
) -> None:
    """List workflow runs, newest first."""
    wanted = {"workflow_id": workflow, "status": status}
    narrowed = filters(session.api, {name: value for name, value in wanted.items() if value is not None})
    pages = session.api.pages("/v1/workflow-runs", narrowed, limit=limit)
    session.out.items(pages, WORKFLOW_RUN)
    session.more(pages)


@verb(app, "get", examples=("strait workflow-runs get @last", "strait workflow-runs get wfr_01hzy --jq .payload"))
def get(session: Session, workflow_run: Run) -> None:
    """Show a workflow run with its payload."""
    session.out.item(session.api.get(_path(session, workflow_run)), WORKFLOW_RUN)


@verb(
    app,
    "watch",
    examples=("strait workflow-runs watch @last", "strait workflow-runs watch wfr_01hzy --timeout 60 -o jsonl"),
)
def watch(
    session: Session,
    workflow_run: Run,
    timeout: Timeout = None,
    *,
    plain: Annotated[bool, typer.Option("--plain", help="One line per change, on a terminal too.")] = False,
) -> None:
    """Follow a run to its end, step by step: exit 0 when it completed, 9 when it ended otherwise.

    On a terminal it fills the screen: the graph of the steps in the colours of their states, the critical path heavy.
    With --plain, another format or no terminal it prints a line per change. Leaving (q, Ctrl-C) leaves the run alone.
    """
    from strait_cli.watch import in_time  # noqa: PLC0415 - streams, for this verb only

    deadline = None if timeout is None else time.monotonic() + timeout
    run_id = in_time(session, lambda: workflow_run_id(session.api, workflow_run), deadline, timeout)
    left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
    follow(session, run_id, left, plain=plain)


def follow(session: Session, run_id: str, timeout: float | None, *, plain: bool = True) -> None:
    """Show every change of a run and its steps until it is over."""
    from strait_cli import flow_watch  # noqa: PLC0415 - streams, for this verb only

    if plain or not session.has_screen:
        run = flow_watch.watch(session, run_id, timeout)
    else:
        from strait_cli.tui.opening import watch_flow  # noqa: PLC0415 - textual, for this verb only

        run = watch_flow(session, run_id, timeout)
    session.out.item(run, WORKFLOW_RUN, row=True)
    flow_watch.judge(run)


@verb(app, "explain", examples=("strait workflow-runs explain @last",))
def explain(session: Session, workflow_run: Run) -> None:
    """Say why each step that has not completed is where it is, and what the run has been late for."""
    told = session.api.get(f"{_path(session, workflow_run)}/explain")
    if session.out.view.format in {"table", "wide"} and not session.out.is_raw and not session.out.view.fields:
        session.out.line(f"{safe(told['id'])} is {safe(told['text'])}")
        for one in told["reasons"]:
            session.out.line(f"  {safe(one['text'])}")
        for one in told["steps"]:
            session.out.line(f"  {safe(one['step_ref']):<24} {session.out.paint(one['status'])}: {safe(one['text'])}")
    else:
        session.out.item(told, name="id")


@verb(app, "timeline", examples=("strait workflow-runs timeline @last",))
def timeline(session: Session, workflow_run: Run) -> None:
    """Show when each step began and how long it took, as bars; piped, a row for each with its times."""
    told, out = session.api.get(f"{_path(session, workflow_run)}/timeline"), session.out
    if not out.is_human or out.view.fields:
        out.items(told["steps"], STEP_TIME, name="step_ref")
        return
    for line in flow_words.timeline_lines(told, out.style().now, out.out.width or 80):
        out.line(line)


@verb(
    app,
    "graph",
    examples=("strait workflow-runs graph @last", "strait workflow-runs graph wfr_01hzy --as dot > run.dot"),
)
def graph(session: Session, workflow_run: Run, drawn_as: drawing.As = None) -> None:
    """Draw a run, each step with its state; -o json also tells what can run, the critical path and what is left."""
    drawing.draw(session, f"{_path(session, workflow_run)}/graph", drawn_as)


# ── moves ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _moved(session: Session, run: str, end: str, sent: dict[str, Any] | bytes | None = None) -> None:
    session.out.item(session.api.post(f"{_path(session, run)}{end}", sent), WORKFLOW_RUN, row=True)


@verb(app, "pause", examples=("strait workflow-runs pause @last",))
def pause(session: Session, workflow_run: Run) -> None:
    """Let no further step start; what runs goes on."""
    _moved(session, workflow_run, "/pause")


@verb(app, "resume", examples=("strait workflow-runs resume @last",))
def resume(session: Session, workflow_run: Run) -> None:
    """Let steps start again."""
    _moved(session, workflow_run, "/resume")


@verb(app, "cancel", examples=("strait workflow-runs cancel @last --yes",))
def cancel(session: Session, workflow_run: Run, *, yes: Yes = False) -> None:
    """End a run and whatever is under way below it."""
    found = session.api.get(_path(session, workflow_run))
    confirm(f"cancel {found['id']} ({found['workflow_slug']}, {found['status']})", yes=yes)
    _moved(session, found["id"], "/cancel")


@verb(app, "retry", examples=("strait workflow-runs retry @last",))
def retry(session: Session, workflow_run: Run) -> None:
    """Let a run that did not succeed go on: completed steps are kept, all others begin anew."""
    _moved(session, workflow_run, "/retry")


@verb(app, "compensate", examples=("strait workflow-runs compensate @last --yes",))
def compensate(session: Session, workflow_run: Run, *, yes: Yes = False) -> None:
    """Undo the completed steps of a failed run by their compensation jobs, the last first."""
    found = session.api.get(_path(session, workflow_run))
    confirm(f"undo the completed steps of {found['id']} ({found['workflow_slug']}, {found['status']})", yes=yes)
    _moved(session, found["id"], "/compensate")


app.add_typer(workflow_steps.app, name="steps")
verb(
    app,
    "bulk-cancel",
    extra=many_workflow_runs.NARROWING,
    examples=(
        "strait workflow-runs bulk-cancel --workflow data-pipeline --dry-run",
        "strait workflow-runs bulk-cancel wfr_01hzy wfr_01hzz --yes",
    ),
)(many_workflow_runs.bulk_cancel)
verb(
    app,
    "bulk-retry",
    extra=many_workflow_runs.NARROWING,
    examples=(
        "strait workflow-runs bulk-retry --status failed --workflow data-pipeline --dry-run",
        "strait workflow-runs bulk-retry --created-after 2030-01-31T00:00:00Z --yes",
    ),
)(many_workflow_runs.bulk_retry)


APPS: Final = {"workflow-runs": app}
