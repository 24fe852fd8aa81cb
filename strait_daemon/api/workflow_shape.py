"""From stored workflows to what the API shows of them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw

from strait_core.ids import Prefix, spell
from strait_core.store.workflows import StoredWorkflow, StoredWorkflowVersion
from strait_core.wire.workflows import Workflow, WorkflowStep, WorkflowVersion
from strait_core.workflow.definition import StepSpec, said_of, settings_text


def workflow(stored: StoredWorkflow, *, whole: bool = True) -> Workflow:
    """A workflow; without its steps unless `whole`."""
    spec = stored.spec
    own: dict[str, Any] = {
        "id": spell(Prefix.WORKFLOW, stored.id),
        "enabled": stored.enabled,
        "paused": stored.paused,
        "paused_at": stored.paused_at,
        "pause_reason": stored.pause_reason,
        "version": stored.version,
        "version_id": spell(Prefix.VERSION, stored.version_id),
        "step_count": stored.step_count,
        "steps": [step(one) for one in spec.steps] if whole else UNSET,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }
    rest = {name: getattr(spec, name) for name in Workflow.__struct_fields__ if name not in own}
    return Workflow(**own, **rest)


def step(spec: StepSpec) -> WorkflowStep:
    """One step: what it says."""
    always = {"step_type": spec.step_type, "depends_on": list(spec.depends_on), "on_failure": spec.on_failure}
    return WorkflowStep(**(said_of(spec) | always))


def etag(stored: StoredWorkflow) -> bytes:
    """Changes with everything about a workflow that its representation shows."""
    return b'"%d-%x"' % (stored.version, round(stored.updated_at.timestamp() * 1_000_000))


def version(stored: StoredWorkflowVersion, *, whole: bool = True) -> WorkflowVersion:
    """One version; without its steps unless `whole`."""
    return WorkflowVersion(
        version=stored.version,
        version_id=spell(Prefix.VERSION, stored.version_id),
        created_at=stored.created_at,
        step_count=stored.step_count,
        definition=Raw(settings_text(stored.spec).encode()),
        steps=[step(one) for one in stored.spec.steps] if whole else UNSET,
    )
