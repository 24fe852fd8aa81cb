"""What a person may type where the API wants an id: slugs, shortened ids, `@last`, `@failed`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from strait_cli.paths import path_of
from strait_core import ids
from strait_core.errors import NotFoundError, UsageError
from strait_core.run import REPLAYABLE

if TYPE_CHECKING:
    from strait_cli.client import Client

# Whatever an id or a slug may consist of; nothing else ever becomes part of a path.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}\Z")


def run_id(client: Client, text: str) -> str:
    """The id of the run that `text` names: an id, a unique prefix of one, `@last` or `@failed`."""
    if text == "@last":
        return _newest(client, {}, "there are no runs yet")
    if text == "@failed":
        return _newest(client, {"status": ",".join(sorted(REPLAYABLE))}, "no run has failed")
    _check(text, "a run id, a prefix of one, @last or @failed")
    if ids.parse(ids.Prefix.RUN, text):
        return text
    prefix = text if text.startswith("run_") else f"run_{text}"
    if ids.prefix_range(ids.Prefix.RUN, prefix) is None:
        raise NotFoundError(f'"{text}" is no run id', hint="strait runs list")
    return _unique(client, "runs", prefix)


def workflow_run_id(client: Client, text: str) -> str:
    """The id of the workflow run that `text` names: an id, a unique prefix of one, or `@last`."""
    if text == "@last":
        found = client.get(path_of("workflow-runs"), {"limit": 1})["data"]
        if not found:
            raise NotFoundError("there are no workflow runs yet", hint="strait workflows trigger WORKFLOW")
        return str(found[0]["id"])
    _check(text, "a workflow run's id, a prefix of one, or @last")
    if ids.parse(ids.Prefix.WORKFLOW_RUN, text):
        return text
    prefix = text if text.startswith("wfr_") else f"wfr_{text}"
    if ids.prefix_range(ids.Prefix.WORKFLOW_RUN, prefix) is None:
        raise NotFoundError(f'"{text}" is no workflow run\'s id', hint="strait workflow-runs list")
    return _unique(client, "workflow-runs", prefix)


def job_ref(client: Client, text: str) -> str:
    """A job's slug or id as the API takes it; a shortened id is completed."""
    _check(text, "a job's slug or id")
    if ids.parse(ids.Prefix.JOB, text) or not text.startswith("job_"):
        return text
    try:
        client.get(path_of("jobs", text))
    except NotFoundError:
        if ids.prefix_range(ids.Prefix.JOB, text) is None:
            raise
        return _unique(client, "jobs", text)
    return text


def schedule_ref(client: Client, text: str) -> str:
    """A schedule's id, or the slug or id of its job or workflow, as the API takes it; a shortened id is completed."""
    _check(text, "a schedule's id, or the slug of its job or workflow")
    if text.startswith("job_"):
        return job_ref(client, text)
    if text.startswith("wf_"):
        return workflow_ref(client, text)
    if ids.parse(ids.Prefix.SCHEDULE, text) or ids.prefix_range(ids.Prefix.SCHEDULE, text) is None:
        return text
    return _unique(client, "schedules", text)


def calendar_ref(client: Client, text: str) -> str:
    """A calendar's slug or id as the API takes it; a shortened id is completed."""
    _check(text, "a calendar's slug or id")
    if ids.parse(ids.Prefix.CALENDAR, text) or ids.prefix_range(ids.Prefix.CALENDAR, text) is None:
        return text
    return _unique(client, "calendars", text)


def workflow_ref(client: Client, text: str) -> str:
    """A workflow's slug or id as the API takes it; a shortened id is completed."""
    _check(text, "a workflow's slug or id")
    if ids.parse(ids.Prefix.WORKFLOW, text) or ids.prefix_range(ids.Prefix.WORKFLOW, text) is None:
        return text
    return _unique(client, "workflows", text)


def approval_id(client: Client, text: str) -> str:
    """An approval's id; a unique prefix will do."""
    return _whole(client, ids.Prefix.APPROVAL, text, ("approvals",), "strait approvals list --status all")


def delivery_id(client: Client, text: str) -> str:
    """The id of a webhook's delivery; a unique prefix will do."""
    return _whole(client, ids.Prefix.WEBHOOK, text, ("webhooks", "deliveries"), "strait webhooks deliveries")


def event_ref(client: Client, text: str) -> str:
    """An event's key or id as the API takes it; a shortened id is completed, unless it is some event's key."""
    if not text.startswith("evt_") or ids.parse(ids.Prefix.EVENT, text):
        return text
    try:
        client.get(path_of("events", text))
    except NotFoundError:
        if ids.prefix_range(ids.Prefix.EVENT, text) is None:
            raise
        return _unique(client, "events", text)
    return text


def _whole(client: Client, prefix: ids.Prefix, text: str, path: tuple[str, ...], hint: str) -> str:
    _check(text, f"an id that begins with {prefix.value}_")
    if ids.parse(prefix, text):
        return text
    begun = text if text.startswith(f"{prefix.value}_") else f"{prefix.value}_{text}"
    if ids.prefix_range(prefix, begun) is None:
        raise NotFoundError(f'"{text}" does not begin an id like {prefix.value}_01k', hint=hint)
    found = client.get(path_of(*path), {"id_prefix": begun, "limit": 5})["data"]
    return _only([one["id"] for one in found], begun, hint)


def filters(client: Client, given: Mapping[str, Any]) -> dict[str, Any]:
    """Filters by their names in the API, with shortened ids completed; slugs stay as they are."""
    known = {"job_id": job_ref, "workflow_id": workflow_ref, "run_id": run_id}
    return {
        name: known[name](client, value) if name in known and isinstance(value, str) else value
        for name, value in given.items()
    }


def worker_id(client: Client, text: str) -> str:
    """A worker's id; a unique prefix will do."""
    _check(text, "a worker's id")
    workers = client.pages(path_of("workers"), limit=10_000)
    return _only([one["id"] for one in workers if one["id"].startswith(text)], text, "strait workers list")


def _check(text: str, what: str) -> None:
    if not _NAME.match(text):
        raise UsageError(f'"{text}" is not {what}')


def _newest(client: Client, query: dict[str, str], missing: str) -> str:
    runs = client.get(path_of("runs"), {**query, "limit": 1})["data"]
    if not runs:
        raise NotFoundError(missing, hint="strait trigger JOB")
    return str(runs[0]["id"])


def _unique(client: Client, noun: str, prefix: str) -> str:
    found = [one["id"] for one in client.get(path_of(noun), {"id_prefix": prefix, "limit": 5})["data"]]
    return _only(found, prefix, f"strait {noun} list")


def _only(found: list[str], text: str, hint: str) -> str:
    if not found:
        raise NotFoundError(f'nothing has an id that begins with "{text}"', hint=hint)
    if len(found) > 1:
        raise UsageError(f'"{text}" begins several ids: {", ".join(found)}', hint="type a few more characters")
    return found[0]
