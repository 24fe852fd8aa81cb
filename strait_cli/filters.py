"""The flags that narrow runs, the same for every verb that lists them or works on many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from strait_cli.verbs import flag
from strait_core.errors import UsageError
from strait_core.run import Status

# By the name of the filter in the API.
NARROWING: Final[Mapping[str, Any]] = {
    "status": flag(list[str], "--status", "In these states: a,b.", "STATES"),
    "job_id": flag(str, "--job", "Of this job: slug or id.", "JOB"),
    "tag": flag(list[str], "--tag", "With this tag.", "KEY:VALUE"),
    "metadata": flag(list[str], "--metadata", "With this metadata.", "KEY:VALUE"),
    "triggered_by": flag(str, "--triggered-by", "Started by this."),
    "error_class": flag(str, "--error-class", "Whose last error is of this class."),
    "batch_id": flag(str, "--batch-id", "Of this bulk trigger.", "ID"),
    "created_after": flag(str, "--created-after", "Younger than this.", "TIME"),
    "created_before": flag(str, "--created-before", "Older than this.", "TIME"),
}
DEAD: Final[Mapping[str, Any]] = {
    name: NARROWING[name] for name in ("job_id", "tag", "metadata", "error_class", "created_after", "created_before")
}


def query_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters as a list's query."""
    return {**given, "status": ",".join(states(given["status"]))} if given.get("status") else dict(given)


def selection_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters as the body of a request over many runs."""
    said = dict(given)
    if said.get("status"):
        said["status"] = states(said["status"])
    for name in ("tag", "metadata"):
        if said.get(name):
            said[name] = dict(pair(f"--{name}", text) for text in said[name])
    return said


def states(texts: list[str]) -> list[str]:
    """State names out of `a,b` texts."""
    named = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    for state in named:
        if state not in {one.value for one in Status}:
            raise UsageError(f'--status: "{state}" is no state', hint=", ".join(Status))
    return named


def pair(name: str, text: str) -> tuple[str, str]:
    """The two sides of KEY:VALUE."""
    key, colon, value = text.partition(":")
    if not key or not colon:
        raise UsageError(f'{name}: "{text}" is not KEY:VALUE')
    return key, value
