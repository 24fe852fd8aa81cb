"""Completion triggers: which job an ending starts, and with what payload. No I/O: who starts it is the store.

`on_complete_trigger_job` is started by a run that completed, `on_failure_trigger_job` by one that failed, timed out,
crashed, became a dead letter or met a fault of our own. What was canceled or expired starts nothing: somebody decided
that it should not go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from strait_core.errors import Fault
from strait_core.run import REPLAYABLE, Status
from strait_core.template import Filled, fill
from strait_core.template import faults_of as template_faults

if TYPE_CHECKING:
    from strait_core.job import JobSpec

# How many runs may start one another in a row.
MAX_CHAIN: Final = 10
TRIGGERED_BY: Final = "completion"
FIELDS: Final = ("on_complete_trigger_job", "on_failure_trigger_job")
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
    """What an ending starts: a job by its slug or id, and the template of the payload."""

    job: str
    mapping: Any


def onward(spec: JobSpec, status: Status) -> Onward | None:
    """What a run of this definition starts when it ends so; None = nothing."""
    if status is Status.COMPLETED and spec.on_complete_trigger_job is not None:
        return Onward(spec.on_complete_trigger_job, spec.on_complete_payload_mapping or _AFTER_COMPLETE)
    if status in REPLAYABLE and spec.on_failure_trigger_job is not None:
        return Onward(spec.on_failure_trigger_job, spec.on_failure_payload_mapping or _AFTER_FAILURE)
    return None


def has_consequences(spec: JobSpec, status: Status) -> bool:
    """Whether such an ending may start another run, or is a success that somebody expects."""
    starts_more = spec.on_complete_trigger_job is not None or spec.on_failure_trigger_job is not None
    return starts_more or (status is Status.COMPLETED and spec.expect_every_secs is not None)


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
    for name in FIELDS:
        mapping_name = name.replace("trigger_job", "payload_mapping")
        target, mapping = getattr(spec, name), getattr(spec, mapping_name)
        if mapping is not None and target is None:
            faults.append(Fault(f"/{mapping_name}", f"works only with {name}"))
        if mapping is not None:
            faults += template_faults(mapping, ROOTS, f"/{mapping_name}")
    return faults
