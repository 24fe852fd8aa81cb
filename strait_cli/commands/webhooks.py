"""`strait webhooks`: what was delivered and what was not."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli.columns import WEBHOOK
from strait_cli.paths import path_of
from strait_cli.refs import delivery_id, filters, job_ref
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

app = noun("See, repeat and test deliveries of webhooks.")


@verb(
    app,
    "deliveries",
    examples=("strait webhooks deliveries", "strait webhooks deliveries --status dead --job hello -o wide"),
)
def deliveries(
    session: Session,
    status: Annotated[
        str | None, typer.Option("--status", help="pending, delivered or dead.", metavar="STATUS", show_default=False)
    ] = None,
    job: Annotated[
        str | None, typer.Option("--job", help="Only this job's: id or slug.", metavar="JOB", show_default=False)
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Only this run's: id, prefix, @last.", metavar="RUN", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50,
) -> None:
    """List deliveries, newest first."""
    wanted = {"status": status, "job_id": job, "run_id": run}
    narrowed = filters(session.api, {name: value for name, value in wanted.items() if value is not None})
    pages = session.api.pages("/v1/webhooks/deliveries", narrowed, limit=limit)
    session.out.items(pages, WEBHOOK)
    session.more(pages)


@verb(app, "retry", examples=("strait webhooks retry wh_01hzy5w3x2f4t8q9m7k6j5h4g3",))
def retry(
    session: Session,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id, or a unique prefix of one.")],
) -> None:
    """Deliver once more what is delivered or dead, with all its attempts."""
    path = path_of("webhooks", "deliveries", delivery_id(session.api, delivery), "retry")
    session.out.item(session.api.post(path), WEBHOOK, row=True)


@verb(app, "test", examples=("strait webhooks test hello",))
def test(
    session: Session,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id or slug.")],
) -> None:
    """Send a test to a job's webhook; what came of it is among the deliveries."""
    session.out.item(session.api.post("/v1/webhooks/test", {"job_id": job_ref(session.api, job)}), WEBHOOK, row=True)
    session.out.note(f"what comes of it: strait webhooks deliveries --job {job} --limit 1")


APPS: Final = {"webhooks": app}
