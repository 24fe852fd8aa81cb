"""From what a request says to a definition, and what is missing or wrong in it: the same for the API and for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, Raw

from strait_core.errors import Fault, ValidationError
from strait_core.wire.workflows import WorkflowPatch, WorkflowStepBody
from strait_core.workflow.definition import StepSpec, WorkflowSpec, settled, step_of
from strait_core.workflow.validate import faults_of

REQUIRED: Final = ("name", "slug", "steps", "project_id")
# Stands in for a required field that is missing, so that the others can be judged.
_FILLING: Final[Mapping[str, Any]] = {
    "name": "x",
    "slug": "x",
    "steps": (StepSpec("x", job_id="x"),),
    "project_id": "x",
}
_NULL: Final = b"null"


def given_of(body: WorkflowPatch) -> dict[str, Any]:
    """The fields of a definition that a body names."""
    given = {
        name: value
        for name in body.__struct_fields__
        if name != "enabled" and (value := getattr(body, name)) is not UNSET
    }
    if "steps" in given:
        given["steps"] = steps_of(given["steps"])
    return given


def steps_of(bodies: Sequence[WorkflowStepBody]) -> tuple[StepSpec, ...]:
    """The steps that a body names; a step without a name gets an empty one, which is a fault."""
    return tuple(step_of({"step_ref": ""} | _step_given(body)) for body in bodies)


def _step_given(body: WorkflowStepBody) -> dict[str, Any]:
    given = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}
    payload = given.get("payload")
    if isinstance(payload, Raw) and bytes(payload).strip() == _NULL:
        del given["payload"]
    return given


def spec_of(given: dict[str, Any], project: str | None) -> WorkflowSpec:
    """The definition that the given fields make; ValidationError lists every missing and every wrong one.

    `project` is what the request names beside the body; None = nothing.
    """
    spec, faults = spec_and_faults(given, project)
    if faults:
        raise ValidationError(faults)
    return spec


def spec_and_faults(given: dict[str, Any], project: str | None) -> tuple[WorkflowSpec, list[Fault]]:
    """The same with its faults; what is missing stands for nothing."""
    faults: list[Fault] = []
    if project is not None and given.setdefault("project_id", project) != project:
        faults.append(Fault("/project_id", "differs from the project that the query or the header names"))
    missing = [name for name in REQUIRED if name not in given]
    spec = WorkflowSpec(**{**_FILLING, **{name: settled(name, value) for name, value in given.items()}})
    faults += [Fault(f"/{name}", "is required") for name in missing]
    faults += [fault for fault in faults_of(spec) if fault.pointer.lstrip("/") not in missing]
    return spec, faults
