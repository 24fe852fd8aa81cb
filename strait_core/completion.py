"""Completion triggers: what an ending starts, and with what payload. No I/O: who starts it is the store.

`on_complete_trigger_job` and `on_complete_trigger_workflow` are started by a run that completed, their counterparts of
`on_failure` by one that failed, timed out, crashed, became a dead letter or met a fault of our own. What was canceled
or expired starts nothing: somebody decided that it should not go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from strait_core.errors import Fault
from strait_core.run import REPLAYABLE, TERMINAL, Status
from strait_core.template import Filled, fill
from strait_core.template import faults_of as template_faults

if TYPE_CHECKING:
    from strait_core.job import JobSpec

# How many runs may start one another in a row.
MAX_CHAIN: Final = 10
TRIGGERED_BY: Final = "completion"
# By what they are started; jobs first.
JOBS: Final = ("on_complete_trigger_job", "on_failure_trigger_job")
WORKFLOWS: Final = ("on_complete_trigger_workflow", "on_failure_trigger_workflow")
FIELDS: Final = JOBS + WORKFLOWS
ROOTS: Final = ("payload", "result", "error", "run")
# Endings that may start something; exactly these failures are what a replay takes back.
STARTING: Final = frozenset({Status.COMPLETED}) | REPLAYABLE
# What a job without a mapping hands on.
_AFTER_COMPLETE: Final = "{{result}}"
_AFTER_FAILURE: Final = {
    "source_job_id": "{{run.job_id}}",
    "source_run_id": "{{run.id}}",
    "status": "{{run.status}}",
    "attempt": "{{run.attempt}}",
    "error": "{{error}}",
    "error_class": "{{run.error_class}}",
    "original_input": "{{payload}}",
}
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Onward:
    """What an ending starts: a job or a workflow by its slug or id, and the template of the payload.

    `field` is that of the definition which says so.
    """

    field: str
    ref: str
    mapping: Any

    @property
    def is_flow(self) -> bool:
        """Whether it is a workflow."""
        return self.field in WORKFLOWS


def onward(spec: JobSpec, status: Status) -> list[Onward]:
    """What a run of this definition starts when it ends so."""
    if status is Status.COMPLETED:
        which, mapping = 0, spec.on_complete_payload_mapping or _AFTER_COMPLETE
    elif status in REPLAYABLE:
        which, mapping = 1, spec.on_failure_payload_mapping or _AFTER_FAILURE
    else:
        return []
    named = ((fields[which], getattr(spec, fields[which])) for fields in (JOBS, WORKFLOWS))
    return [Onward(name, ref, mapping) for name, ref in named if ref is not None]


def with_consequences(spec: JobSpec) -> frozenset[Status]:
    """The endings after which there is more to do: others may be started, or it is a success that somebody expects."""
    if any(getattr(spec, name) is not None for name in FIELDS):
        return TERMINAL
    return frozenset() if spec.expect_every_secs is None else frozenset({Status.COMPLETED})


def payload(
    mapping: Any, *, payload: str, result: str | None, error: str | None, run: Mapping[str, Any], most: int
) -> Filled:
    """The payload that a mapping makes; raises `template.TooLongError`."""
    roots = {
        "payload": payload,
        "result": "null" if result is None else result,
        "error": _encode(error).decode(),
        "run": _encode(run).decode(),
    }
    return fill(mapping, roots, most=most)


def faults_of(spec: JobSpec) -> list[Fault]:
    """What is wrong with a definition's triggers, apart from the jobs that they name."""
    faults: list[Fault] = []
    for job, flow in zip(JOBS, WORKFLOWS, strict=True):
        mapping_name = job.replace("trigger_job", "payload_mapping")
        targets, mapping = (getattr(spec, job), getattr(spec, flow)), getattr(spec, mapping_name)
        if mapping is not None and targets == (None, None):
            faults.append(Fault(f"/{mapping_name}", f"works only with {job} or {flow}"))
        if mapping is not None:
            faults += template_faults(mapping, ROOTS, f"/{mapping_name}")
    return faults
