"""`strait workflow-runs bulk-cancel` and `bulk-retry`: many workflow runs at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from strait_cli.columns import WORKFLOW_RUN
from strait_cli.commands.many_runs import DryRun, Kind, Yes, bulk
from strait_cli.filters import pair
from strait_cli.refs import workflow_run_id
from strait_cli.session import Session
from strait_cli.verbs import flag

# By the name of the filter in the API.
NARROWING: Final[Mapping[str, Any]] = {
    "status": flag(list[str], "--status", "In these states: a,b.", "STATES"),
    "workflow_id": flag(str, "--workflow", "Of this workflow: slug or id.", "WORKFLOW"),
    "tag": flag(list[str], "--tag", "With this tag.", "KEY:VALUE"),
    "created_after": flag(str, "--created-after", "Younger than this.", "TIME"),
    "created_before": flag(str, "--created-before", "Older than this.", "TIME"),
}
Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Ids, prefixes or @last; none with filters.")]


def _selection(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters as the body of a request; the server judges the states."""
    said = dict(given)
    if said.get("status"):
        said["status"] = [part.strip() for text in said["status"] for part in text.split(",") if part.strip()]
    if said.get("tag"):
        said["tag"] = dict(pair("--tag", text) for text in said["tag"])
    return said


FLOWS: Final = Kind(
    "workflow-runs",
    "workflow run",
    "strait workflow-runs bulk-cancel --workflow data-pipeline --dry-run",
    WORKFLOW_RUN,
    "workflow_slug",
    100,
    workflow_run_id,
    _selection,
)


def bulk_cancel(
    session: Session, runs: Runs = None, *, dry_run: DryRun = False, yes: Yes = False, given: dict[str, Any]
) -> None:
    """Cancel many workflow runs with all that is under way below them: those named, or all that match the filters.

    Exit 10 when some of them were left as they are.
    """
    bulk(session, FLOWS, "cancel", runs or [], given, dry_run=dry_run, yes=yes)


def bulk_retry(
    session: Session, runs: Runs = None, *, dry_run: DryRun = False, yes: Yes = False, given: dict[str, Any]
) -> None:
    """Let many workflow runs go on that did not succeed: those named, or all that match the filters.

    Completed steps are kept. Exit 10 when some of the runs were left as they are.
    """
    bulk(session, FLOWS, "retry", runs or [], given, dry_run=dry_run, yes=yes)
