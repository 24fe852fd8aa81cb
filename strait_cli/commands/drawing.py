"""How the graph of a workflow, or of one of its runs, is asked for and shown."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from strait_cli.session import Session
from strait_core.errors import UsageError

As = Annotated[
    str | None,
    typer.Option("--as", help="ascii, mermaid, dot or json.", metavar="FORM", show_default=False),
]


def draw(session: Session, path: str, drawn_as: str | None) -> None:
    """Boxes and lines as wide as the terminal, or another form; raw output formats get the data."""
    form = drawn_as or ("json" if session.out.is_raw or session.out.view.format not in {"table", "wide"} else "ascii")
    if form not in {"ascii", "mermaid", "dot", "json"}:
        raise UsageError(f'--as: "{form}" is none of ascii, mermaid, dot, json')
    query: dict[str, Any] = {"format": form}
    if form == "ascii" and session.out.out.width is not None:
        query["width"] = min(max(session.out.out.width, 40), 1_000)
    drawn = session.api.get(path, query)
    if isinstance(drawn, str):
        session.out.drawing(drawn)
    else:
        session.out.item(drawn)
