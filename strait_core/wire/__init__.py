"""What travels over HTTP: request and response bodies, shared by the API and the CLI.

Decoding is strict: unknown fields, wrong types and coercions are refused. Semantic checks are in `job.py` and
`trigger.py`; here are only shapes. `UNSET` is an absent field, None is an explicit null. What most of the code speaks
of (jobs, runs, pages, faults) is named here; the rest by its module.
"""

from __future__ import annotations

from strait_core.wire.bodies import FaultItem, Page, Problem, Request
from strait_core.wire.fleet import ComponentHealth, Health, Worker
from strait_core.wire.jobs import Job, JobClone, JobCreate, JobPatch, JobVersion, Pause
from strait_core.wire.runs import (
    Attempt,
    Batch,
    BulkItem,
    BulkTriggerRequest,
    NewRunRequest,
    Run,
    RunEvent,
    Timings,
    TriggerFields,
    TriggerRequest,
)

__all__ = [
    "Attempt",
    "Batch",
    "BulkItem",
    "BulkTriggerRequest",
    "ComponentHealth",
    "FaultItem",
    "Health",
    "Job",
    "JobClone",
    "JobCreate",
    "JobPatch",
    "JobVersion",
    "NewRunRequest",
    "Page",
    "Pause",
    "Problem",
    "Request",
    "Run",
    "RunEvent",
    "Timings",
    "TriggerFields",
    "TriggerRequest",
    "Worker",
]
