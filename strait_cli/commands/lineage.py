"""`strait runs lineage`: a run's family as a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from strait_cli.paths import path_of
from strait_cli.refs import run_id
from strait_cli.session import Session
from strait_cli.table import safe

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id, unique prefix of one, @last or @failed.")]
EXAMPLES = ("strait runs lineage @last", "strait runs lineage run_01hzy -o json")


def lineage(session: Session, run: Run) -> None:
    """Show which runs a run descends from, and which it has spawned, started by its end or been continued by."""
    family = session.api.get(path_of("runs", run_id(session.api, run), "lineage"))
    if session.out.is_raw or session.out.view.format not in {"table", "wide"}:
        session.out.item(family)
        return
    for text in _tree(family, session):
        session.out.line(text)
    if family["truncated"]:
        session.out.note("there are more descendants than are shown")


def _tree(family: Mapping[str, Any], session: Session) -> Iterator[str]:
    """One line a run, each below the one that made it; the run that was asked for has a mark."""
    asked = family["run"]
    line: Sequence[Mapping[str, Any]] = [*family["ancestors"], asked]
    below: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in family["descendants"]:
        below[one["parent_run_id"] or one["continuation_of"]].append(one)
    for depth, one in enumerate(line):
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        yield branch + _text(session, one, asked=one is asked)
    yield from _branches(session, below, asked["id"], "   " * (len(line) - 1))


def _branches(
    session: Session, below: Mapping[str, Sequence[Mapping[str, Any]]], run: str, indent: str
) -> Iterator[str]:
    children = below.get(run, ())
    for at, one in enumerate(children):
        last = at == len(children) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{_text(session, one, asked=False)}"
        yield from _branches(session, below, one["id"], indent + ("   " if last else "│  "))


def _text(session: Session, run: Mapping[str, Any], *, asked: bool) -> str:
    how = "" if run["continuation_of"] is None else "  (goes on from it)"
    mark = "  ←" if asked else ""
    return f"{safe(run['id'])}  {session.out.paint(run['status'])}  {safe(run['job_slug'])}{how}{mark}"
