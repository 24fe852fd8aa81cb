"""What a run of a workflow would do: its graph walked on a virtual clock, with assumed outcomes and known lengths."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import UNSET

from strait_core.errors import Fault, ValidationError, escape_pointer
from strait_core.job import YEAR_SECS
from strait_core.store import workflow_durations
from strait_core.store.workflows import StoredWorkflow
from strait_core.wire.workflow_simulation import (
    AssumedOutcome,
    LengthFrom,
    SimulatedStep,
    WorkflowSimulate,
    WorkflowSimulation,
)
from strait_core.workflow.dag import State
from strait_core.workflow.definition import StepSpec
from strait_core.workflow.snapshot import Snapshot, snapshot_of
from strait_core.workflow.states import RunStatus, StepStatus
from strait_core.workflow.walk import Assumed, Walk, critical_path, length_of, walked
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.workflows import find_workflow

Whence: TypeAlias = Callable[[StepSpec], LengthFrom]
_BY_STEP: Final = ("outcomes", "outputs", "durations")


async def simulate(api: Api, call: Call) -> Reply:
    """POST /v1/workflows/{workflow}/simulate."""
    body: WorkflowSimulate = call.body
    async with api.connection() as conn:
        found = await find_workflow(conn, call.path["workflow"], call.project)
        faults = _faults(body, {step.step_ref for step in found.spec.steps})
        if faults:
            raise ValidationError(faults)
        known = await workflow_durations.durations(conn, found.id)
    return reply(await asyncio.to_thread(_simulated, found, body, known))


def _faults(body: WorkflowSimulate, refs: set[str]) -> list[Fault]:
    faults: list[Fault] = []
    for name in _BY_STEP:
        said = getattr(body, name)
        if said is not UNSET:
            faults += [
                Fault(f"/{name}/{escape_pointer(ref)}", f"the workflow has no step {ref[:64]!r}")
                for ref in said
                if ref not in refs
            ]
    for pointer, secs in [("/default_secs", body.default_secs), *_lengths(body)]:
        if not 0 <= secs <= YEAR_SECS:
            faults.append(Fault(pointer, f"must be from 0 to {YEAR_SECS}"))
    return faults


def _lengths(body: WorkflowSimulate) -> list[tuple[str, float]]:
    given = {} if body.durations is UNSET else body.durations
    return [(f"/durations/{escape_pointer(ref)}", secs) for ref, secs in given.items()]


def _simulated(found: StoredWorkflow, body: WorkflowSimulate, known: dict[str, float]) -> WorkflowSimulation:
    snapshot = snapshot_of(found.spec)
    given = {} if body.durations is UNSET else body.durations
    outcomes = {} if body.outcomes is UNSET else body.outcomes
    secs = {snapshot.index[ref]: length for ref, length in {**known, **given}.items() if ref in snapshot.index}
    assumed = Assumed(
        secs,
        body.default_secs,
        {snapshot.index[ref]: StepStatus.FAILED for ref, end in outcomes.items() if end is AssumedOutcome.FAILED},
        None if body.payload is UNSET else bytes(body.payload).decode(),
        {}
        if body.outputs is UNSET
        else {snapshot.index[ref]: bytes(raw).decode() for ref, raw in body.outputs.items()},
    )
    walk = walked(snapshot, assumed, State({}), {})
    return _shaped(snapshot, found.version, walk, lambda step: _length_from(step, given, known))


def _length_from(step: StepSpec, given: dict[str, float], known: dict[str, float]) -> LengthFrom:
    if length_of(step, None) is not None:
        return LengthFrom.DEFINITION
    if step.step_ref in given:
        return LengthFrom.GIVEN
    return LengthFrom.HISTORY if step.step_ref in known else LengthFrom.DEFAULT


def _shaped(snapshot: Snapshot, version: int, walk: Walk, whence: Whence) -> WorkflowSimulation:
    stretches = {one.step: one for one in walk.stretches}
    critical = critical_path(snapshot, {one.step: one.ends - one.begins for one in walk.stretches})
    critical = [at for at in critical if at in stretches]
    refs = [step.step_ref for step in snapshot.steps]
    steps = []
    for at, step in enumerate(snapshot.steps):
        one = stretches.get(at)
        steps.append(
            SimulatedStep(
                step_ref=step.step_ref,
                step_type=step.step_type,
                status=StepStatus.CANCELED if one is None else one.status,
                starts_at_secs=None if one is None else round(one.begins, 3),
                ends_at_secs=None if one is None else round(one.ends, 3),
                length_from=whence(step),
                on_critical_path=at in critical,
                note=None if one is None else one.note,
            )
        )
    return WorkflowSimulation(
        workflow_version=version,
        status=walk.status or RunStatus.RUNNING,
        total_secs=round(walk.total, 3),
        max_parallelism=walk.most_at_once,
        order=[refs[one.step] for one in walk.stretches],
        critical_path=[refs[at] for at in critical],
        undone=[[refs[at] for at in level] for level in walk.undone],
        steps=steps,
    )
