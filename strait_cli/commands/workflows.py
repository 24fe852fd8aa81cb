"""`strait workflows`: definitions of steps that depend on one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from strait_cli import body, exact, flow_words
from strait_cli.ask import confirm
from strait_cli.brief import wants_all, without_defaults
from strait_cli.columns import STEP, WORKFLOW, WORKFLOW_RUN, WORKFLOW_VERSION
from strait_cli.commands import drawing, simulation, workflow_runs
from strait_cli.commands.jobs import DEFAULT_PROJECT, Key, Yes
from strait_cli.paths import path_of
from strait_cli.refs import workflow_ref
from strait_cli.session import Session
from strait_cli.verbs import noun, verb
from strait_core.errors import UsageError

app = noun("Create, change, compare and draw workflows: steps that depend on one another.")

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Slug or id.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")]


def _text(*names: str, text: str, metavar: str = "TEXT") -> Any:
    return typer.Option(*names, help=text, metavar=metavar, show_default=False)


File = Annotated[
    str | None, _text("--file", "-f", text="The definition: a YAML or JSON file, - for stdin.", metavar="FILE")
]
Name = Annotated[str | None, _text("--name", text="What people call it.")]
Slug = Annotated[str | None, _text("--slug", text="Its name in commands and URLs: a-z 0-9 _ -")]
Steps = Annotated[str | None, _text("--steps", text="The steps: JSON, @file or -.", metavar="JSON")]
Version = Annotated[int | None, typer.Option("--version", help="An earlier one.", metavar="N", show_default=False)]

# What a workflow's schedule shares with that of a job.
_AS_OF_JOBS: Final = (
    "misfire_policy", "misfire_max_lateness_secs", "misfire_max_runs", "overlap_policy", "jitter_secs", "dst_gap",
    "dst_overlap", "calendar", "calendar_mode", "calendar_roll", "start_within_secs", "finish_within_secs",
    "expect_every_secs",
    "alert_webhook_url",
)  # fmt: skip
# Every field of a workflow but those that create and update treat apart (name, slug, steps, project_id).
FIELDS: Final[Mapping[str, Any]] = {
    "description": Annotated[str | None, _text("--description", text="What the workflow is for.")],
    "tags": Annotated[list[str] | None, _text("--tags", "--tag", text="A tag.", metavar="KEY=VALUE")],
    "enabled": body.JOB_FIELDS["enabled"],
    "timeout_secs": Annotated[
        int | None, _text("--timeout-secs", text="Seconds a run may take; 0 = no limit.", metavar="N")
    ],
    "max_concurrent_runs": Annotated[
        int | None, _text("--max-concurrent-runs", text="Runs at once, others wait; 0 = no limit.", metavar="N")
    ],
    "max_parallel_steps": Annotated[
        int | None, _text("--max-parallel-steps", text="Steps of one run at once; 0 = no limit.", metavar="N")
    ],
    "cron": Annotated[str | None, _text("--cron", text="When it runs by itself: '0 9 * * mon-fri'.", metavar="EXPR")],
    "cron_timezone": Annotated[
        str | None, _text("--cron-timezone", text="The zone of the expression (UTC).", metavar="ZONE")
    ],
    "skip_if_running": Annotated[
        bool | None,
        typer.Option("--skip-if-running/--no-skip-if-running", help="No tick while a run goes on.", show_default=False),
    ],
    **{name: body.JOB_FIELDS[name] for name in _AS_OF_JOBS},
}


@verb(app, "list", examples=("strait workflows list", "strait wf ls -o wide", "strait workflows list --jq '.[].slug'"))
def list_workflows(session: Session, limit: Limit = 50) -> None:
    """List workflows, newest first."""
    pages = session.api.pages("/v1/workflows", limit=limit)
    session.out.items(pages, WORKFLOW)
    session.more(pages)


@verb(
    app,
    "get",
    examples=("strait workflows get data-pipeline", "strait workflows get data-pipeline --version 3 -o yaml"),
)
def get(session: Session, workflow: Workflow, version: Version = None) -> None:
    """Show a workflow's definition and state, or one version of its definition."""
    path = _path(session, workflow)
    _show(session, session.api.get(path if version is None else f"{path}/versions/{version}"))


def _show(session: Session, found: dict[str, Any]) -> None:
    if session.out.is_raw or session.out.view.fields or session.out.view.format not in {"table", "wide"}:
        session.out.item(found, WORKFLOW)
        return
    settings = {name: value for name, value in found.items() if name != "steps"}
    if not wants_all(session):
        from strait_core.workflow.definition import DEFAULTS  # noqa: PLC0415 - only where a person looks

        settings = without_defaults(settings, DEFAULTS)
    session.out.item(settings, WORKFLOW)
    session.out.line("")
    session.out.items(found["steps"], STEP)


@verb(
    app,
    "create",
    extra=FIELDS,
    examples=(
        "strait workflows create --file pipeline.yaml",
        "strait workflows create --name Pipeline --slug pipeline --steps @steps.json --max-parallel-steps 4",
        "strait workflows create --file pipeline.yaml --cron '0 6 * * *' --skip-if-running",
        """strait workflows create --name One --slug one --steps '[{"step_ref": "a", "job_id": "hello"}]'""",
    ),
)
def create(
    session: Session,
    file: File = None,
    name: Name = None,
    slug: Slug = None,
    steps: Steps = None,
    idempotency_key: Key = None,
    *,
    given: dict[str, Any],
) -> None:
    """Create a workflow, from a file, from flags, or from both: a flag goes before what the file says.

    Without a project it goes into the project `default`; projects come into being at first use.
    """
    request = _request(file, name, slug, steps, given)
    request = {"project_id": session.project or DEFAULT_PROJECT} | request
    made = session.api.post("/v1/workflows", exact.dumps(request).encode(), key=idempotency_key)
    session.out.item(made, WORKFLOW, row=True)
    session.out.note(f"created in project {made['project_id']}; look at it: strait workflows graph {made['slug']}")


def _request(
    file: str | None, name: str | None, slug: str | None, steps: str | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file and flags say together."""
    request: dict[str, Any] = {}
    if file is not None:
        from strait_cli.flowfile import read_file  # noqa: PLC0415 - YAML, only with a file

        request = read_file(file)
    request |= {key: value for key, value in (("name", name), ("slug", slug)) if value is not None}
    if steps is not None:
        text = body.read_text(steps, "--steps")
        body.parse_json(text, "--steps")
        request["steps"] = exact.loads(text)
    return request | body.fields(given)


@verb(
    app,
    "update",
    extra=FIELDS,
    examples=(
        "strait workflows update pipeline --file pipeline.yaml",
        "strait workflows update pipeline --max-parallel-steps 8 --no-enabled",
        "strait workflows update pipeline --unset timeout-secs",
    ),
)
def update(
    session: Session,
    workflow: Workflow,
    file: File = None,
    name: Name = None,
    slug: Slug = None,
    steps: Steps = None,
    unset: Annotated[
        list[str] | None, _text("--unset", text="Put a field back to its default.", metavar="FIELD")
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Change what is named; steps are replaced as a whole. Every change of the definition makes a new version."""
    changes = _request(file, name, slug, steps, given)
    changes.pop("project_id", None)
    for one in unset or ():
        key = one.replace("-", "_")
        if key not in FIELDS:
            raise UsageError(f'--unset: "{one}" is none of {", ".join(FIELDS)}')
        changes[key] = None
    if not changes:
        raise UsageError("nothing to change", hint="name a field: strait workflows update --help")
    changed = session.api.patch(_path(session, workflow), exact.dumps(changes).encode())
    session.out.item(changed, WORKFLOW, row=True)


@verb(app, "delete", examples=("strait workflows delete pipeline", "strait workflows rm pipeline --yes"))
def delete(session: Session, workflow: Workflow, *, yes: Yes = False) -> None:
    """Delete a workflow; its slug is free again. Refused while another workflow refers to it."""
    found = session.api.get(_path(session, workflow))
    confirm(f'delete workflow {found["slug"]} ("{found["name"]}", project {found["project_id"]})', yes=yes)
    session.api.delete(path_of("workflows", found["id"]))
    session.done(f"deleted workflow {found['slug']}", found["id"], "deleted")


@verb(app, "clone", examples=("strait workflows clone pipeline pipeline-copy",))
def clone(
    session: Session,
    workflow: Workflow,
    slug: Annotated[str, typer.Argument(metavar="NEW_SLUG", help="The copy's slug.")],
    name: Annotated[str | None, _text("--name", text="The copy's name.")] = None,
    idempotency_key: Key = None,
) -> None:
    """Create a workflow with the same definition under another slug."""
    request = {"slug": slug} | ({} if name is None else {"name": name})
    made = session.api.post(f"{_path(session, workflow)}/clone", request, key=idempotency_key)
    session.out.item(made, WORKFLOW, row=True)


@verb(app, "pause", examples=("strait workflows pause pipeline --reason 'source is down'",))
def pause(
    session: Session,
    workflow: Workflow,
    reason: Annotated[str | None, _text("--reason", text="Shown to whoever asks.")] = None,
) -> None:
    """Take no new runs of a workflow; those under way go on."""
    request = {} if reason is None else {"reason": reason}
    session.out.item(session.api.post(f"{_path(session, workflow)}/pause", request), WORKFLOW, row=True)


@verb(app, "resume", examples=("strait workflows resume pipeline",))
def resume(session: Session, workflow: Workflow) -> None:
    """Let a paused workflow take runs again."""
    session.out.item(session.api.post(f"{_path(session, workflow)}/resume"), WORKFLOW, row=True)


@verb(
    app,
    "runs",
    examples=("strait workflows runs pipeline", "strait workflows runs pipeline --status failed,timed_out -o json"),
)
def runs(
    session: Session,
    workflow: Workflow,
    status: Annotated[str | None, _text("--status", text="One or more states: a,b.", metavar="STATES")] = None,
    limit: Limit = 50,
) -> None:
    """List the runs of a workflow, newest first."""
    filters = {} if status is None else {"status": status}
    pages = session.api.pages(f"{_path(session, workflow)}/runs", filters, limit=limit)
    session.out.items(pages, WORKFLOW_RUN)
    session.more(pages)


@verb(app, "versions", examples=("strait workflows versions pipeline",))
def versions(session: Session, workflow: Workflow, limit: Limit = 50) -> None:
    """List the versions of a workflow's definition, newest first."""
    pages = session.api.pages(f"{_path(session, workflow)}/versions", limit=limit)
    session.out.items(pages, WORKFLOW_VERSION, name="version_id")
    session.more(pages)


@verb(app, "diff", examples=("strait workflows diff pipeline 1 2", "strait workflows diff pipeline 1 2 -o json"))
def diff(
    session: Session,
    workflow: Workflow,
    before: Annotated[int, typer.Argument(metavar="A", help="The version before.", min=1)],
    after: Annotated[int, typer.Argument(metavar="B", help="The version after.", min=1)],
) -> None:
    """Show what changed between two versions: field by field, step by step. Ends with 1 when they differ."""
    found = session.api.get(f"{_path(session, workflow)}/versions/{before}/diff/{after}")
    if session.out.is_raw or session.out.view.fields or session.out.view.format not in {"table", "wide"}:
        session.out.item(found)
    else:
        session.out.drawing("".join(f"{line}\n" for line in _differences(found)))
    if not found["same"]:
        raise typer.Exit(1)


def _differences(found: dict[str, Any]) -> list[str]:
    lines = [_change("", one) for one in found["fields"]]
    lines += [f"- step {ref}" for ref in found["removed_steps"]]
    lines += [f"+ step {ref}" for ref in found["added_steps"]]
    return lines + [_change(f"{step['step_ref']}.", one) for step in found["changed_steps"] for one in step["fields"]]


def _change(place: str, change: dict[str, Any]) -> str:
    return f"~ {place}{change['field']}: {exact.dumps(change['before'])} → {exact.dumps(change['after'])}"


@verb(
    app,
    "graph",
    examples=("strait workflows graph pipeline", "strait workflows graph pipeline --as mermaid > pipeline.mmd"),
)
def graph(session: Session, workflow: Workflow, drawn_as: drawing.As = None) -> None:
    """Draw a workflow: boxes and lines by default, or for Mermaid and Graphviz; -o json gives the graph as data."""
    drawing.draw(session, f"{_path(session, workflow)}/graph", drawn_as)


@verb(app, "plan", examples=("strait workflows plan pipeline", "strait workflows plan pipeline --jq .critical_path"))
def plan(session: Session, workflow: Workflow) -> None:
    """Show in what order the steps go, how many at once, and which chain is the longest."""
    told, out = session.api.post(f"{_path(session, workflow)}/plan"), session.out
    if not out.is_human or out.view.fields:
        out.item(told, name="workflow_version")
        return
    for line in flow_words.plan_lines(told, out.out.width or 80):
        out.line(line)


verb(
    app,
    "simulate",
    examples=(
        "strait workflows simulate pipeline",
        "strait workflows simulate pipeline --fail load --secs extract=90 --set day=2030-01-31",
    ),
)(simulation.simulate)


@verb(
    app,
    "dry-run",
    examples=("strait workflows dry-run pipeline", "strait workflows dry-run pipeline --file pipeline.yaml"),
)
def dry_run(session: Session, workflow: Workflow, file: File = None, steps: Steps = None) -> None:
    """Let the server judge steps, by default those that the workflow has; nothing is stored. Ends with 7 when wrong."""
    request = _request(file, None, None, steps, {})
    said = {"steps": request["steps"]} if "steps" in request else {}
    verdict = session.api.post(f"{_path(session, workflow)}/dry-run", exact.dumps(said).encode())
    session.out.item(verdict, name="valid")


@verb(
    app,
    "validate",
    examples=("strait workflows validate --file pipeline.yaml", "strait workflows validate -f - < pipeline.yaml"),
)
def validate(session: Session, file: File = None) -> None:
    """Judge a definition in a file, without a server: all that is wrong but jobs and workflows that are not there."""
    if file is None:
        raise UsageError("which file?", hint="strait workflows validate --file pipeline.yaml")
    from strait_cli.flowfile import judged, read_file  # noqa: PLC0415 - YAML and patterns, for this verb only

    spec = judged({"project_id": session.project or DEFAULT_PROJECT} | read_file(file), DEFAULT_PROJECT)
    session.out.item({"valid": True, "step_count": len(spec.steps)}, name="valid")


verb(
    app,
    "trigger",
    examples=(
        "strait workflows trigger pipeline --set date=2030-01-31 --wait",
        "strait workflows trigger pipeline --payload @in.json --without notify --tag team=data",
    ),
)(workflow_runs.trigger)


def _path(session: Session, workflow: str) -> str:
    return path_of("workflows", workflow_ref(session.api, workflow))


APPS: Final = {"workflows": app}
