"""What differs between two versions of a workflow: field by field, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from strait_core.wire.workflows import FieldChange, StepChange, WorkflowDiff
from strait_core.workflow.definition import STEP_DEFAULTS, StepSpec, WorkflowSpec, payload_of


def compared(before: WorkflowSpec, after: WorkflowSpec, numbers: tuple[int, int]) -> WorkflowDiff:
    """The difference of two versions with these numbers."""
    names = [field.name for field in fields(WorkflowSpec) if field.name != "steps"]
    changes = _changes({name: getattr(before, name) for name in names}, {name: getattr(after, name) for name in names})
    old, new = ({step.step_ref: step for step in spec.steps} for spec in (before, after))
    changed = [
        StepChange(step_ref=ref, fields=inner)
        for ref in new
        if ref in old and (inner := _changes(_said(old[ref]), _said(new[ref])))
    ]
    made = WorkflowDiff(
        before=numbers[0],
        after=numbers[1],
        same=False,
        fields=changes,
        added_steps=[ref for ref in new if ref not in old],
        removed_steps=[ref for ref in old if ref not in new],
        changed_steps=changed,
    )
    made.same = not (changes or changed or made.added_steps or made.removed_steps)
    return made


def _said(step: StepSpec) -> dict[str, Any]:
    return {name: getattr(step, name) for name in STEP_DEFAULTS} | {"payload": payload_of(step)}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    return [
        FieldChange(field=name, before=before[name], after=after[name])
        for name in before
        if before[name] != after[name]
    ]
