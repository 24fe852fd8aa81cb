"""`strait jobs`: definitions of jobs, and runs of them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from strait_cli import body
from strait_cli.ask import confirm
from strait_cli.brief import wants_all, without_defaults
from strait_cli.columns import HEALTH, JOB, NEXT_FIRE, VERSION
from strait_cli.commands import trigger
from strait_cli.errors import Shown
from strait_cli.paths import path_of
from strait_cli.refs import job_ref
from strait_cli.session import Session
from strait_cli.verbs import noun, verb
from strait_core.errors import RunFailedError, UsageError

# Where a job goes when no project is named: projects come into being at first use.
DEFAULT_PROJECT: Final = "default"

Job = Annotated[str, typer.Argument(metavar="JOB", help="Slug or id.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="The same key never does it twice.", metavar="KEY", show_default=False),
]

app = noun("Create, change, trigger and pause jobs: named HTTP endpoints with a retry policy.")


def _text(name: str, text: str, *aliases: str, metavar: str = "TEXT") -> Any:
    return typer.Option(name, *aliases, help=text, metavar=metavar, show_default=False)


@verb(
    app,
    "list",
    examples=("strait jobs list", "strait jobs ls --paused --tag team:data", "strait jobs list --jq '.[].slug'"),
)
def list_jobs(
    session: Session,
    *,
    tag: Annotated[list[str] | None, _text("--tag", "With this tag.", metavar="KEY:VALUE")] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Only those.", show_default=False)
    ] = None,
    paused: Annotated[
        bool | None, typer.Option("--paused/--not-paused", help="Only those.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50,
) -> None:
    """List jobs, newest first."""
    switches = {"enabled": enabled, "paused": paused}
    query = {name: str(value).lower() for name, value in switches.items() if value is not None}
    pages = session.api.pages("/v1/jobs", {**query, "tag": tag}, limit=limit)
    session.out.items(pages, JOB)
    session.more(pages)


@verb(app, "get", examples=("strait jobs get hello-world", "strait jobs get job_01hzy -o yaml"))
def get(session: Session, job: Job) -> None:
    """Show a job's definition and state; on a terminal without what is at its default, which -o wide shows too."""
    from strait_core.job import DEFAULTS  # noqa: PLC0415 - only where a person looks

    found = _get(session, job)
    if wants_all(session):
        session.out.item(found, JOB)
        return
    said = without_defaults(found, DEFAULTS)
    session.out.item(said, JOB)
    session.out.note(f"{len(found) - len(said)} fields are at their defaults: strait jobs get {found['slug']} -o wide")


@verb(
    app,
    "create",
    extra=body.JOB_FIELDS,
    examples=(
        "strait jobs create --name Hello --slug hello --endpoint http://127.0.0.1:9000/hello",
        "strait jobs create --name Report --slug report --endpoint https://api.example.com/report \\",
        "    --project billing --timeout-secs 600 --max-attempts 5 --tag team=finance",
    ),
)
def create(
    session: Session,
    name: Annotated[str, _text("--name", "What people call it.")],
    slug: Annotated[str, _text("--slug", "Its name in commands and URLs: a-z 0-9 _ -")],
    endpoint_url: Annotated[str, _text("--endpoint", "The URL that is called.", "--endpoint-url", metavar="URL")],
    idempotency_key: Key = None,
    *,
    given: dict[str, Any],
) -> None:
    """Create a job.

    Without a project it goes into the project `default`; projects come into being at first use.
    """
    request = {
        "project_id": session.project or DEFAULT_PROJECT,
        "name": name,
        "slug": slug,
        "endpoint_url": endpoint_url,
        **body.fields(given),
    }
    job = session.api.post("/v1/jobs", request, key=idempotency_key)
    session.out.item(job, JOB, row=True)
    session.out.note(f"created in project {job['project_id']}; run it: strait trigger {job['slug']} --wait")


@verb(
    app,
    "update",
    extra=body.JOB_FIELDS,
    examples=(
        "strait jobs update hello --timeout-secs 30 --max-attempts 5",
        "strait jobs update hello --unset run_ttl_secs",
        "strait jobs update hello --no-enabled",
    ),
)
def update(
    session: Session,
    job: Job,
    name: Annotated[str | None, _text("--name", "What people call it.")] = None,
    slug: Annotated[str | None, _text("--slug", "Its name in commands and URLs.")] = None,
    endpoint_url: Annotated[
        str | None, _text("--endpoint", "The URL that is called.", "--endpoint-url", metavar="URL")
    ] = None,
    unset: Annotated[list[str] | None, _text("--unset", "Put a field back to its default.", metavar="FIELD")] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Change fields of a job; what is not named stays. Every change makes a new version."""
    named = {"name": name, "slug": slug, "endpoint_url": endpoint_url}
    changes = {key: value for key, value in named.items() if value is not None} | body.fields(given)
    for one in unset or ():
        key = one.replace("-", "_")
        if key not in body.JOB_FIELDS:
            raise UsageError(f'--unset: "{one}" is none of {", ".join(body.JOB_FIELDS)}')
        changes[key] = None
    if not changes:
        raise UsageError("nothing to change", hint="name a field: strait jobs update --help")
    session.out.item(session.api.patch(_path(session, job), changes), JOB, row=True)


@verb(app, "edit", examples=("strait jobs edit hello", "EDITOR=nano strait jobs edit hello"))
def edit(session: Session, job: Job) -> None:
    """Change a job in your editor, as YAML; what you change is sent, nothing else."""
    from strait_cli.jobedit import changes_by_hand  # noqa: PLC0415 - YAML, for this verb only

    now = _get(session, job)
    changes = changes_by_hand(now)
    if not changes:
        session.out.note("nothing was changed")
        return
    session.out.item(session.api.patch(path_of("jobs", now["id"]), changes), JOB, row=True)


@verb(app, "delete", examples=("strait jobs delete hello", "strait jobs rm hello --yes"))
def delete(session: Session, job: Job, *, yes: Yes = False) -> None:
    """Delete a job; its runs stay, its slug is free again. Refused while runs of it are not finished."""
    found = _get(session, job)
    confirm(f'delete job {found["slug"]} ("{found["name"]}", project {found["project_id"]})', yes=yes)
    session.api.delete(path_of("jobs", found["id"]))
    session.done(f"deleted job {found['slug']}", found["id"], "deleted")


@verb(app, "clone", examples=("strait jobs clone hello hello-copy", "strait jobs clone hello hi --name 'Hi there'"))
def clone(
    session: Session,
    job: Job,
    slug: Annotated[str, typer.Argument(metavar="NEW_SLUG", help="The copy's slug.")],
    name: Annotated[str | None, _text("--name", "The copy's name.")] = None,
    idempotency_key: Key = None,
) -> None:
    """Create a job with the same definition under another slug."""
    request = {"slug": slug} | ({} if name is None else {"name": name})
    session.out.item(session.api.post(f"{_path(session, job)}/clone", request, key=idempotency_key), JOB, row=True)


@verb(app, "pause", examples=("strait jobs pause hello", "strait jobs pause hello --reason 'endpoint is down'"))
def pause(
    session: Session, job: Job, reason: Annotated[str | None, _text("--reason", "Shown to whoever asks.")] = None
) -> None:
    """Hold a job: triggers are refused, waiting runs wait, running ones finish."""
    request = {} if reason is None else {"reason": reason}
    session.out.item(session.api.post(f"{_path(session, job)}/pause", request), JOB, row=True)


@verb(app, "resume", examples=("strait jobs resume hello",))
def resume(session: Session, job: Job) -> None:
    """Let a paused job run again."""
    session.out.item(session.api.post(f"{_path(session, job)}/resume"), JOB, row=True)


@verb(app, "versions", examples=("strait jobs versions hello", "strait jobs versions hello -o json"))
def versions(
    session: Session,
    job: Job,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50,
) -> None:
    """List the versions of a job's definition, newest first."""
    pages = session.api.pages(f"{_path(session, job)}/versions", limit=limit)
    session.out.items(pages, VERSION, name="version_id")
    session.more(pages)


@verb(app, "next-runs", examples=("strait jobs next-runs nightly-report --count 3",))
def next_runs(
    session: Session,
    job: Job,
    count: Annotated[int, typer.Option("--count", min=1, max=200, help="How many.", metavar="N")] = 10,
) -> None:
    """Show when the job's schedule fires next, in UTC and as the clocks there show it."""
    found = session.api.get(f"{_path(session, job)}/next-runs", {"limit": count})["data"]
    session.out.items(found, NEXT_FIRE, name="fire_at")


@verb(app, "health", examples=("strait jobs health hello", "strait jobs health hello -o json --jq .breaker.state"))
def health(session: Session, job: Job) -> None:
    """Show how a job is doing: what holds it, its breaker, its queue, its recent attempts."""
    found = session.api.get(f"{_path(session, job)}/health")
    if session.out.is_human and not session.out.view.fields:
        session.out.card(found, HEALTH)
    else:
        session.out.item(found, HEALTH, name="job_id")


@verb(
    app,
    "test",
    examples=(
        "strait jobs test hello",
        "strait jobs test hello --payload '{\"n\": 1}' --timeout-secs 5",
        "strait jobs test hello --set user.id=42 -o json --jq .timings_ms",
    ),
)
def try_out(
    session: Session,
    job: Job,
    payload: Annotated[str | None, _text("--payload", "JSON, @file or - for stdin.", metavar="JSON")] = None,
    sets: Annotated[list[str] | None, _text("--set", "Set one value: a.b=1.", metavar="PATH=VALUE")] = None,
    timeout_secs: Annotated[
        int | None,
        typer.Option("--timeout-secs", help="Seconds to wait, 1 to 60.", metavar="N", show_default=False),
    ] = None,
    *,
    edit: Annotated[bool, typer.Option("--edit", help="Write the payload in your editor.")] = False,
) -> None:
    """Call a job's endpoint once, as a run would, and show what came of it; nothing is stored.

    Ends with 9 when a run would not have completed.
    """
    fields = {} if timeout_secs is None else {"timeout_secs": timeout_secs}
    request = trigger.request_of(fields, body.payload_text(payload, sets or (), edit=edit))
    tested = session.api.post(f"{_path(session, job)}/test", request)
    session.out.item(_told(tested) if session.out.is_human else tested, name="http_status")
    if not tested["ok"]:
        error = RunFailedError(f"a run would not have completed: {tested['error']}")
        if session.out.is_json:
            raise error from Shown()
        raise error


def _told(tested: dict[str, Any]) -> dict[str, Any]:
    """The same for a person: what there is, and where the time went in words."""
    millis = tested["timings_ms"]
    phases = {"connect": "connect", "ttfb": "first byte", "transfer": "transfer"}
    parts = ", ".join(f"{text} {millis[name]:.0f} ms" for name, text in phases.items() if millis[name] is not None)
    took = None if millis["total"] is None else f"{millis['total']:.0f} ms" + (f" ({parts})" if parts else "")
    told = {**tested, "timings_ms": took}
    return {name.replace("timings_ms", "took"): value for name, value in told.items() if value is not None}


verb(app, "trigger", extra=body.TRIGGER_FIELDS, examples=trigger.EXAMPLES)(trigger.trigger)
verb(
    app,
    "trigger-bulk",
    examples=(
        'strait jobs trigger-bulk hello --items \'[{"payload": {"n": 1}}, {"payload": {"n": 2}}]\'',
        "strait jobs trigger-bulk hello --items @items.jsonl --dry-run",
        "generate-items | strait jobs trigger-bulk hello --items -",
    ),
)(trigger.trigger_bulk)


def _path(session: Session, job: str) -> str:
    return path_of("jobs", job_ref(session.api, job))


def _get(session: Session, job: str) -> dict[str, Any]:
    found: dict[str, Any] = session.api.get(_path(session, job))
    return found


APPS: Final = {"jobs": app}
