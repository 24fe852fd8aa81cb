"""`strait stats`: how much waits, how fast it goes, how much room there is."""

from __future__ import annotations

from typing import Any, Final

from strait_cli import times
from strait_cli.session import Session
from strait_cli.table import Column
from strait_cli.verbs import leaf, verb

app = leaf()

_TOP: Final = (
    Column("job_slug", "job"),
    Column("queued", kind="number"),
    Column("executing", kind="number"),
    Column("job_id", "id", wide=True),
)


@verb(app, "stats", examples=("strait stats", "strait stats --jq .depth", "strait stats --project billing -o json"))
def stats(session: Session) -> None:
    """Show queue depth by state, what is held, rates and worker capacity."""
    found: dict[str, Any] = session.api.get("/v1/stats")
    if session.out.is_raw or session.out.view.fields or session.out.view.format not in {"table", "wide"}:
        session.out.item(found)
        return
    session.out.pairs(facts(found))
    if found["top_jobs"]:
        session.out.line("")
        session.out.items(found["top_jobs"], _TOP, name="job_slug")


def facts(found: dict[str, Any]) -> dict[str, Any]:
    """The figures that a person looks for, in order; zero depths are left out."""
    facts: dict[str, Any] = {state: count for state, count in found["depth"].items() if count}
    facts["ready"] = found["ready"]
    facts |= {f"held: {reason}": count for reason, count in found["held"].items() if count}
    facts |= {f"late: {deadline}": count for deadline, count in found["breaches"].items() if count}
    age = found["oldest_queued_age"]
    facts["oldest queued"] = None if age is None else times.length(age)
    for name, window in (("rate_1m", "1 min"), ("rate_15m", "15 min")):
        facts[f"runs/s, {window}"] = f"{found[name]['created']:.1f} in, {found[name]['finished']:.1f} out"
    facts["workers"] = found["workers"]
    facts["slots"] = f"{found['slots']['used']} of {found['slots']['total']} used"
    return facts


APPS: Final = {"stats": app}
