"""Config as code: `strait validate`, `diff`, `apply`, `export` and `schema`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from strait_cli import exact
from strait_cli.ask import confirm
from strait_cli.commands.jobs import DEFAULT_PROJECT, Yes
from strait_cli.output import dump
from strait_cli.paths import path_of
from strait_cli.progress import Progress
from strait_cli.session import Session
from strait_cli.table import cut, safe
from strait_cli.verbs import leaf, verb
from strait_core.errors import Fault, UsageError, ValidationError

# Of each kind; a manifest has less.
_MOST: Final = 100_000
_MARKS: Final = {"create": ("+", "32"), "update": ("~", "33"), "delete": ("-", "31"), "left": ("!", "35")}
if TYPE_CHECKING:
    from strait_cli.manifestfile import Document

_TO_DO: Final = {"create": "to create", "update": "to change", "delete": "to delete"}
_DONE: Final = {"create": "created", "update": "changed", "delete": "deleted"}

Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        "-f",
        help="A file, a folder or - ; later ones go before earlier ones, field by field. Else strait.yaml.",
        metavar="FILE",
        show_default=False,
    ),
]
Prune = Annotated[bool, typer.Option("--prune", help="Delete what the manifest owns and names no longer.")]

validate_app, diff_app, apply_app, export_app, schema_app = (leaf() for _ in range(5))


@verb(
    validate_app,
    "validate",
    examples=("strait validate", "strait validate -f base.yaml -f prod.yaml", "strait validate -f deploy/"),
)
def validate(session: Session, files: Files = None) -> None:
    """Judge a manifest without a server: everything wrong in it, with file and line. Ends with 7 when it is.

    What needs the server stays unseen: whether jobs that are not in the manifest are there, and where names lead to.
    """
    from strait_cli.manifestfile import read  # noqa: PLC0415 - YAML, for these verbs only
    from strait_cli.manifestjudge import judged  # noqa: PLC0415 - schemas and patterns, for this verb only

    document = read(files or (), with_secrets=False)
    faults = judged(document.body, session.project or DEFAULT_PROJECT)
    if faults:
        raise ValidationError([_placed(fault, document) for fault in faults])
    counts = {kind: len(document.body.get(kind) or ()) for kind in ("calendars", "jobs", "workflows")}
    session.out.item({"valid": True, **counts}, name="valid")


@verb(
    diff_app,
    "diff",
    examples=("strait diff", "strait diff -f base.yaml -f prod.yaml --prune", "strait diff -o json --jq .changes"),
)
def diff(session: Session, files: Files = None, *, prune: Prune = False) -> None:
    """Show what applying a manifest would change, field by field; nothing is stored.

    Ends with 0 when nothing would change, with 1 when something would, above 1 with an error. Secrets are never shown,
    only that they change.
    """
    plan = _asked(session, _read(files), "plan", prune=prune)
    _show(session, plan)
    if not plan["same"]:
        raise typer.Exit(1)


@verb(
    apply_app,
    "apply",
    examples=("strait apply", "strait apply -f deploy/ --yes", "strait apply --prune --dry-run"),
)
def apply(
    session: Session,
    files: Files = None,
    *,
    prune: Prune = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")] = False,
    yes: Yes = False,
) -> None:
    """Make a project's jobs, workflows and calendars what a manifest says: plan, question, all of it or nothing.

    What an item does not name is at its default; secrets and `enabled` that are not named stay. What the manifest has
    applied is its own from then on: with --prune it deletes what it names no longer, and nothing else.
    """
    # Read once: what was looked at is what is sent, and standard input comes once only.
    document = _read(files)
    plan = _asked(session, document, "plan", prune=prune)
    if dry_run:
        _show(session, plan)
        session.out.note("nothing was changed")
        return
    if plan["same"] and all(one["owner"] == plan["name"] for one in plan["changes"]):
        _show(session, plan)
        return
    if not plan["same"]:
        if session.out.is_human:
            for line in _lines(session, plan):
                session.out.talk(line)
        confirm(
            f"apply to {session.layers.value('server').text}, project {plan['project_id']}: {_counts(plan)}", yes=yes
        )
    with Progress(session, "applying", None):
        done = _asked(session, document, "apply", prune=prune, expect=plan["digest"])
    if session.out.is_human:
        session.out.line(f"applied: {_counts(done)}")
    else:
        _show(session, done)


def _read(files: Sequence[str] | None) -> Document:
    from strait_cli.manifestfile import read  # noqa: PLC0415 - as above

    return read(files or ())


def _asked(session: Session, document: Document, verb_: str, *, prune: bool, **more: Any) -> dict[str, Any]:
    """What the server says to a manifest; its faults with the lines that they are about."""
    own, flag = document.body.get("project"), session.given.get("project")
    if flag is not None and own is not None and flag != own:
        raise UsageError(f"the manifest is of project {own}, --project says {flag}", hint="leave out one of the two")
    project = str(own or session.project or DEFAULT_PROJECT)
    body = {**document.body, "project": project, "prune": prune, **more}
    try:
        answer: dict[str, Any] = session.api_of(project).post(f"/v1/manifests/{verb_}", exact.dumps(body).encode())
    except ValidationError as error:
        placed = [_placed(fault, document) for fault in error.faults]
        raise ValidationError(placed, hint=error.hint) from error.__cause__
    return answer


def _placed(fault: Fault, document: Document) -> Fault:
    place = document.place(fault.pointer)
    return fault if place is None else Fault(fault.pointer, f"{fault.message} ({place})")


# ── how a plan looks ──────────────────────────────────────────────────────────────────────────────────────────────────


def _show(session: Session, plan: dict[str, Any]) -> None:
    if session.out.is_raw or session.out.view.fields or session.out.view.format not in {"table", "wide"}:
        session.out.item(plan, name="digest")
        return
    for line in _lines(session, plan):
        session.out.line(line)
    session.out.note(_counts(plan))


def _lines(session: Session, plan: dict[str, Any]) -> Iterator[str]:
    width = session.out.out.width
    for one in plan["changes"]:
        if one["action"] not in _MARKS:
            continue
        mark, color = _MARKS[one["action"]]
        yield session.out.dressed(f"{mark} {one['kind']} {one['slug']}", color) + _remark(one, plan["name"])
        for field in one["fields"]:
            after = dump(field["after"])
            text = after if one["action"] == "create" else f"{dump(field['before'])} → {after}"
            line = f"    {safe(field['field'])}: {text}"
            yield line if width is None else cut(line, width)


def _remark(change: Mapping[str, Any], name: str) -> str:
    if change["action"] == "left":
        return "  no longer in the manifest; --prune would delete it"
    if change["owner"] not in {None, name}:
        return f"  taken over from manifest {safe(change['owner'])}"
    return ""


def _counts(plan: dict[str, Any]) -> str:
    actions = [one["action"] for one in plan["changes"]]
    words = _DONE if plan["applied"] else _TO_DO
    return (
        ", ".join(f"{actions.count(one)} {text}" for one, text in words.items() if one in actions)
        or "nothing to change"
    )


# ── export, schema ────────────────────────────────────────────────────────────────────────────────────────────────────


@verb(
    export_app,
    "export",
    examples=(
        "strait export > strait.yaml",
        "strait export --project billing --file strait.yaml",
        "strait export -o json",
    ),
)
def export(
    session: Session,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Write it there, and not to stdout.", metavar="FILE", show_default=False),
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace a file that is there without asking.")] = False,
) -> None:
    """Write a project's jobs, workflows and calendars as a manifest: YAML, or JSON with -o json.

    What is at its default is left out, and so are secrets, which no server shows: applying the manifest leaves them.
    """
    from strait_cli import manifestout  # noqa: PLC0415 - for this verb only

    if (
        session.out.is_raw
        or session.out.view.fields
        or session.out.view.format not in {"table", "wide", "yaml", "json"}
    ):
        raise UsageError("a manifest is YAML or JSON", hint="strait export, or strait export -o json")
    project = session.project or DEFAULT_PROJECT
    found = _everything(session, project)
    manifest = manifestout.manifest_of(project, *found)
    is_json = session.out.view.format == "json" or (file or "").endswith(".json")
    text = exact.dumps(manifest, indent=2) + "\n" if is_json else manifestout.as_yaml(manifest)
    if file is None:
        session.out.text(text)
    else:
        _write(Path(file), text, yes=yes)
    session.out.note(f"project {project}: " + ", ".join(map(_count, found, _KINDS)))
    for left in manifestout.secrets_left_out(found[1]):
        session.out.note(f"left out: {left}; name it as env:NAME or @file to set it")


_KINDS: Final = ("calendars", "jobs", "workflows")


def _count(found: list[dict[str, Any]], kind: str) -> str:
    return f"{len(found)} {kind if len(found) != 1 else kind[:-1]}"


def _everything(session: Session, project: str) -> tuple[list[dict[str, Any]], ...]:
    api = session.api_of(project)
    lists = [list(api.pages(f"/v1/{kind}", limit=_MOST)) for kind in _KINDS]
    with Progress(session, "workflows", len(lists[2])) as progress:
        for at, one in enumerate(lists[2]):
            # Lists leave out the steps.
            lists[2][at] = api.get(path_of("workflows", one["id"]))
            progress.at(at + 1)
    return tuple(lists)


def _write(path: Path, text: str, *, yes: bool) -> None:
    if path.exists():
        confirm(f"replace {path}", yes=yes)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


@verb(
    schema_app,
    "schema",
    local=True,
    examples=("strait schema > strait.schema.json",),
)
def schema(session: Session) -> None:
    """Print the JSON Schema of manifests, by which editors complete and check them.

    In YAML the first line of a manifest names it: # yaml-language-server: $schema=strait.schema.json
    """
    from strait_core.schemas import manifest_schema  # noqa: PLC0415 - for this verb only

    session.out.text(exact.dumps(manifest_schema(), indent=2) + "\n")


APPS: Final = {
    "validate": validate_app,
    "diff": diff_app,
    "apply": apply_app,
    "export": export_app,
    "schema": schema_app,
}
