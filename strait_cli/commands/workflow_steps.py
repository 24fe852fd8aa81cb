"""`strait workflow-runs steps`: the steps of a workflow run, read and moved by hand."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from strait_cli import body
from strait_cli.columns import STEP_RUN, WORKFLOW_RUN
from strait_cli.commands.approvals import Actor, Comment
from strait_cli.paths import path_of
from strait_cli.refs import workflow_run_id
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id, unique prefix of one, or @last.")]
Step = Annotated[str, typer.Argument(metavar="STEP", help="The step's ref.")]
_ALL: Final = 100_000

app = noun("List the steps of a workflow run, run them again, decide, skip or complete them by hand.")


def _option(name: str, text: str, metavar: str = "TEXT") -> Any:
    return typer.Option(name, help=text, metavar=metavar, show_default=False)


@verb(app, "list", examples=("strait workflow-runs steps list @last", "strait wr steps ls wfr_01hzy -o wide"))
def list_steps(session: Session, workflow_run: Run) -> None:
    """List the steps of a run: where each is, and what carries it out."""
    run_id = workflow_run_id(session.api, workflow_run)
    pages = session.api.pages(path_of("workflow-runs", run_id, "steps"), limit=_ALL)
    session.out.items(pages, STEP_RUN, name="step_ref")


@verb(app, "get", examples=("strait workflow-runs steps get @last extract --jq .output",))
def get(session: Session, workflow_run: Run, step: Step) -> None:
    """Show one step with its output."""
    session.out.item(session.api.get(_path(session, workflow_run, step)), STEP_RUN, name="step_ref")


@verb(app, "retry", examples=("strait workflow-runs steps retry @last load",))
def retry(session: Session, workflow_run: Run, step: Step) -> None:
    """Let a step that is over begin anew, and what hangs on it and has not completed."""
    _moved(session, workflow_run, step, "retry")


@verb(app, "replay-subtree", examples=("strait workflow-runs steps replay-subtree @last transform",))
def replay_subtree(session: Session, workflow_run: Run, step: Step) -> None:
    """Let a step that is over begin anew, and everything that depends on it."""
    _moved(session, workflow_run, step, "replay-subtree")


@verb(app, "skip", examples=('strait workflow-runs steps skip @last review --reason "on holiday"',))
def skip(
    session: Session, workflow_run: Run, step: Step, reason: Annotated[str | None, _option("--reason", "Why.")] = None
) -> None:
    """Skip a step that has not begun, or waits."""
    _moved(session, workflow_run, step, "skip", {"reason": reason} if reason else {})


@verb(
    app,
    "force-complete",
    examples=("strait workflow-runs steps force-complete @last extract --set-output '{\"n\": 1}'",),
)
def force_complete(
    session: Session,
    workflow_run: Run,
    step: Step,
    output: Annotated[str | None, _option("--set-output", "What the step gives: JSON, @file or -.", "JSON")] = None,
) -> None:
    """Complete a step that has not begun, or waits, with an output of yours."""
    text = body.payload_text(output, (), edit=False)
    sent = b"{}" if text is None else f'{{"output": {text}}}'.encode()
    _moved(session, workflow_run, step, "force-complete", sent)


@verb(app, "approve", examples=('strait workflow-runs steps approve @last review --comment "looks right"',))
def approve(session: Session, workflow_run: Run, step: Step, comment: Comment = None, actor: Actor = None) -> None:
    """Approve what a step asks: it completes."""
    _moved(session, workflow_run, step, "approve", {"comment": comment} if comment else {}, actor)


@verb(app, "reject", examples=('strait workflow-runs steps reject @last review --as ada --comment "wrong day"',))
def reject(session: Session, workflow_run: Run, step: Step, comment: Comment = None, actor: Actor = None) -> None:
    """Reject what a step asks: it fails."""
    _moved(session, workflow_run, step, "reject", {"comment": comment} if comment else {}, actor)


def _moved(
    session: Session,
    workflow_run: str,
    step: str,
    how: str,
    sent: dict[str, Any] | bytes | None = None,
    actor: str | None = None,
) -> None:
    run = session.api.post(_path(session, workflow_run, step, how), sent, actor=actor)
    session.out.item(run, WORKFLOW_RUN, row=True)


def _path(session: Session, workflow_run: str, step: str, *more: str) -> str:
    return path_of("workflow-runs", workflow_run_id(session.api, workflow_run), "steps", step, *more)
