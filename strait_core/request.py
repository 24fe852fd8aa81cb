"""From what a request says of a job to a definition, and what is missing or wrong in it: for the API and for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET

from strait_core.errors import Fault
from strait_core.job import JobSpec, faults_of, settled
from strait_core.wire.jobs import JobPatch

REQUIRED: Final = ("name", "slug", "endpoint_url", "project_id")
# Stands in for a required field that is missing, so that the others can be judged.
_FILLING: Final[Mapping[str, Any]] = {
    "name": "x",
    "slug": "x",
    "endpoint_url": "https://example.com",
    "project_id": "x",
}


def given_of(body: JobPatch) -> dict[str, Any]:
    """The fields of a definition that a body names."""
    given = {
        name: value
        for name in body.__struct_fields__
        if name != "enabled" and (value := getattr(body, name)) is not UNSET
    }
    if given.get("rate_limit_keys"):
        given["rate_limit_keys"] = [limit.plain() for limit in given["rate_limit_keys"]]
    return given


def judged(given: dict[str, Any], project: str | None, refused: Sequence[Fault]) -> tuple[JobSpec, list[Fault]]:
    """The definition that the given fields make, and every missing and every wrong one, `refused` among them.

    `project` is what the request names beside the body; None = nothing.
    """
    faults = list(refused)
    if project is not None and given.setdefault("project_id", project) != project:
        faults.append(Fault("/project_id", "differs from the project that the query or the header names"))
    missing = [name for name in REQUIRED if name not in given]
    spec = JobSpec(**{**_FILLING, **{name: settled(name, value) for name, value in given.items()}})
    faults += [Fault(f"/{name}", "is required") for name in missing]
    faults += [fault for fault in faults_of(spec) if fault.pointer.lstrip("/") not in missing]
    return spec, faults
