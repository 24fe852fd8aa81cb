"""`strait approvals`: what steps of workflows ask, and the answers."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli.columns import APPROVAL
from strait_cli.paths import path_of
from strait_cli.refs import approval_id
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

Approval = Annotated[str, typer.Argument(metavar="APPROVAL", help="Its id, or a unique prefix of one.")]
Comment = Annotated[
    str | None, typer.Option("--comment", help="What to say with it.", metavar="TEXT", show_default=False)
]
Actor = Annotated[
    str | None,
    typer.Option("--as", help="Who decides; the server may ask for one.", metavar="NAME", show_default=False),
]

app = noun("See what workflows ask, and answer.")


@verb(app, "list", examples=("strait approvals list", "strait approvals list --status approved --limit 10"))
def list_approvals(
    session: Session,
    status: Annotated[
        str, typer.Option("--status", help="pending, approved, rejected, expired, canceled, or all.", metavar="STATUS")
    ] = "pending",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50,
) -> None:
    """List what waits for an answer, newest first."""
    pages = session.api.pages("/v1/approvals", {} if status == "all" else {"status": status}, limit=limit)
    session.out.items(pages, APPROVAL)
    session.more(pages)


@verb(app, "approve", examples=('strait approvals approve apr_01hzy5w3x2f4t8q9m7k6j5h4g3 --comment "looks right"',))
def approve(session: Session, approval: Approval, comment: Comment = None, actor: Actor = None) -> None:
    """Approve: the step completes."""
    _answer(session, approval, "approve", comment, actor)


@verb(app, "reject", examples=('strait approvals reject apr_01hzy5w3x2f4t8q9m7k6j5h4g3 --comment "wrong day"',))
def reject(session: Session, approval: Approval, comment: Comment = None, actor: Actor = None) -> None:
    """Reject: the step fails."""
    _answer(session, approval, "reject", comment, actor)


def _answer(session: Session, approval: str, how: str, comment: str | None, actor: str | None) -> None:
    sent = {"comment": comment} if comment else {}
    path = path_of("approvals", approval_id(session.api, approval), how)
    answer = session.api.post(path, sent, actor=actor)
    session.out.item(answer, APPROVAL, row=True)


APPS: Final = {"approvals": app}
