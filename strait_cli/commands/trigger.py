"""`strait trigger`, also known as `strait jobs trigger`, and triggering in bulk."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any, Final

import typer

from strait_cli import body
from strait_cli.columns import RUN
from strait_cli.paths import path_of
from strait_cli.progress import Progress
from strait_cli.refs import job_ref
from strait_cli.session import Session
from strait_cli.verbs import leaf, verb
from strait_core.errors import PartialError, StraitError, UsageError

_MOST: Final = 1_000

EXAMPLES: Final = (
    'strait trigger hello --payload \'{"greeting": "hi"}\'',
    "strait trigger hello --set user.id=42 --set user.name=Ada --wait",
    "strait trigger hello --payload @payload.json --scheduled-at 2030-01-31T09:00:00Z",
)

Job = Annotated[str, typer.Argument(metavar="JOB", help="Slug or id.")]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="The same key never does it twice.", metavar="KEY", show_default=False),
]


def trigger(
    session: Session,
    job: Job,
    payload: Annotated[
        str | None, typer.Option("--payload", help="JSON, @file or -.", metavar="JSON", show_default=False)
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set one value in the payload: a.b=1.", metavar="PATH=VALUE"),
    ] = None,
    idempotency_key: Key = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", help="With --wait: give up waiting after so many seconds.", min=0, metavar="SECS"),
    ] = None,
    *,
    edit: Annotated[bool, typer.Option("--edit", help="Write the payload in your editor.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the run to its end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")] = False,
    given: dict[str, Any],
) -> None:
    """Start a run of a job.

    With --wait it shows the run's changes and ends like `strait runs watch`: exit 0 when the run completed, 9 when it
    ended otherwise.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout goes with --wait", hint="one attempt's limit is --timeout-secs")
    if dry_run and wait:
        raise UsageError("--wait does not go with --dry-run: there will be no run to wait for")
    text = body.payload_text(payload, sets or (), edit=edit)
    path = path_of("jobs", job_ref(session.api, job), "trigger")
    fields = body.fields(given) | ({"dry_run": True} if dry_run else {})
    run = session.api.post(path, request_of(fields, text), key=idempotency_key)
    if wait:
        from strait_cli.watch import watch  # noqa: PLC0415 - only with --wait

        session.out.note(f"triggered {run['id']}")
        watch(session, run["id"], run=run, timeout=timeout)
        return
    session.out.item(run, RUN, row=True)
    session.out.note("nothing was stored" if dry_run else f"watch it: strait runs watch {run['id']}")


def request_of(fields: dict[str, Any], payload: str | None) -> bytes:
    """The request's body, with the payload's text in it as it was written."""
    head = json.dumps(fields)
    if payload is None:
        return head.encode()
    return (head[:-1] + (", " if fields else "") + f'"payload": {payload}}}').encode()


def trigger_bulk(
    session: Session,
    job: Job,
    items: Annotated[
        str,
        typer.Option("--items", help="JSON array or JSON lines of trigger bodies: text, @file or -.", metavar="JSON"),
    ],
    idempotency_key: Key = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and count, trigger nothing.")] = False,
) -> None:
    """Start many runs of a job at once.

    Each thousand is taken whole or not at all. When a later thousand is refused, what was made stays and the exit
    code is 10.
    """
    bodies = _bodies(body.read_text(items, "--items"))
    ref = job_ref(session.api, job)
    if dry_run:
        found = session.api.get(path_of("jobs", ref))
        session.out.note(f"would trigger {len(bodies)} runs of job {found['slug']} (project {found['project_id']})")
        return
    runs, refused = _triggered(session, ref, bodies, idempotency_key or str(uuid.uuid4()))
    session.out.items(runs, RUN)
    if refused is not None:
        message = f"{len(runs)} of {len(bodies)} runs were triggered, then: {refused.message}"
        raise PartialError(message, hint=f"the rest begins with item {len(runs)}") from refused
    session.out.note(f"triggered {len(runs)} runs")


def _triggered(
    session: Session, job: str, bodies: list[bytes], key: str
) -> tuple[list[dict[str, Any]], StraitError | None]:
    """The runs that were made, a thousand at a time, and what kept the rest from it; an error when none was made."""
    runs: list[dict[str, Any]] = []
    with Progress(session, "triggered", len(bodies)) as progress:
        for at in range(0, len(bodies), _MOST):
            request = b'{"items": [' + b", ".join(bodies[at : at + _MOST]) + b"]}"
            try:
                answer = session.api.post(path_of("jobs", job, "trigger", "bulk"), request, key=f"{key}-{at}")
            except StraitError as error:
                if not runs:
                    raise
                return runs, error
            runs += answer["data"]
            progress.at(len(runs))
    return runs, None


def _bodies(text: str) -> list[bytes]:
    """The items' JSON texts as they were written, from an array, an `items` object or JSON lines."""
    import msgspec  # noqa: PLC0415 - for this verb only

    try:
        stripped = text.strip()
        if stripped.startswith("["):
            raws = msgspec.json.decode(stripped, type=list[msgspec.Raw])
        else:
            raws = [msgspec.Raw(line.encode()) for line in stripped.splitlines() if line.strip()]
        for raw in raws:
            msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise UsageError(f"--items is neither a JSON array of objects nor JSON lines: {error}") from error
    if not raws:
        raise UsageError("--items is empty", hint="""--items '[{"payload": {}}]'""")
    return [bytes(raw) for raw in raws]


app = leaf()
verb(app, "trigger", extra=body.TRIGGER_FIELDS, examples=EXAMPLES)(trigger)

APPS: Final = {"trigger": app}
