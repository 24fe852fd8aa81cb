"""`strait workflows simulate`: what a run would do, and how long it would take."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from strait_cli import body, exact
from strait_cli.columns import SIMULATED_STEP
from strait_cli.commands.trigger import request_of
from strait_cli.flow_words import chain_lines
from strait_cli.paths import path_of
from strait_cli.refs import workflow_ref
from strait_cli.session import Session
from strait_cli.table import safe
from strait_core.errors import UsageError

# In a pipe nothing is broken into lines.
_UNBOUNDED: Final = 1_000_000


def _option(name: str, text: str, metavar: str = "TEXT") -> Any:
    return typer.Option(name, help=text, metavar=metavar, show_default=False)


def simulate(
    session: Session,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Slug or id.")],
    payload: Annotated[str | None, _option("--payload", "What conditions see: JSON, @file or -.", "JSON")] = None,
    sets: Annotated[list[str] | None, _option("--set", "Set one value in the payload: a.b=1.", "PATH=VALUE")] = None,
    outputs: Annotated[
        str | None, _option("--outputs", "What steps put out, by ref: JSON, @file or -.", "JSON")
    ] = None,
    fail: Annotated[list[str] | None, _option("--fail", "Let a step fail.", "STEP")] = None,
    secs: Annotated[list[str] | None, _option("--secs", "How long a step takes.", "STEP=N")] = None,
    default_secs: Annotated[
        float | None, _option("--default-secs", "How long steps take of which nothing is known (1).", "N")
    ] = None,
) -> None:
    """Show what a run would do: when each step begins and ends, what runs at once, the critical path, the estimate.

    Lengths are those of the newest runs. Steps complete unless you let them fail. Nothing is stored.
    """
    fields: dict[str, Any] = {}
    if outputs is not None:
        text = body.read_text(outputs, "--outputs")
        body.parse_json(text, "--outputs")
        fields["outputs"] = exact.loads(text)
    if fail:
        fields["outcomes"] = dict.fromkeys(fail, "failed")
    if secs:
        fields["durations"] = dict(map(_length, secs))
    if default_secs is not None:
        fields["default_secs"] = default_secs
    path = path_of("workflows", workflow_ref(session.api, workflow), "simulate")
    found = session.api.post(path, request_of(fields, body.payload_text(payload, sets or (), edit=False)))
    if session.out.view.format in {"table", "wide"} and not session.out.is_raw and not session.out.view.fields:
        _show(session, found)
    else:
        session.out.item(found, name="workflow_version")


def _length(text: str) -> tuple[str, float]:
    ref, equals, number = text.partition("=")
    try:
        if not equals:
            raise ValueError(text)
        return ref, float(number)
    except ValueError:
        raise UsageError(f'--secs: "{text}" is not STEP=N', hint="--secs extract=90") from None


def _show(session: Session, found: dict[str, Any]) -> None:
    known = {step["step_ref"]: step for step in found["steps"]}
    later = [ref for ref in known if ref not in found["order"]]
    session.out.items([known[ref] for ref in [*found["order"], *later]], SIMULATED_STEP, name="step_ref")
    session.out.line("")
    lines = [
        f"{found['status']} after {found['total_secs']:g} s, at most {found['max_parallelism']} at once",
        *chain_lines(found["critical_path"], session.out.out.width or _UNBOUNDED),
        *(f"then undone: {', '.join(level)}" for level in found["undone"]),
    ]
    for line in lines:
        session.out.line(safe(line))
