"""What travels over HTTP about simulations of workflows."""

from __future__ import annotations

from enum import StrEnum

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.wire.bodies import Request
from strait_core.workflow.definition import StepType
from strait_core.workflow.states import RunStatus, StepStatus


class AssumedOutcome(StrEnum):
    """What a step is assumed to come to."""

    COMPLETED = "completed"
    FAILED = "failed"


class LengthFrom(StrEnum):
    """Whence it is known how long a step takes."""

    GIVEN = "given"
    DEFINITION = "definition"
    HISTORY = "history"
    DEFAULT = "default"


class WorkflowSimulate(Request):
    """POST /v1/workflows/{workflow}/simulate: what to take for granted, by the steps' refs.

    Steps complete unless `outcomes` says otherwise. `durations` are seconds and go before those of the newest runs;
    what neither tells takes `default_secs`. Conditions are judged by `payload` and `outputs`; one that asks for what is
    not said is assumed to hold.
    """

    payload: Raw | UnsetType = UNSET
    outcomes: dict[str, AssumedOutcome] | UnsetType = UNSET
    outputs: dict[str, Raw] | UnsetType = UNSET
    durations: dict[str, float] | UnsetType = UNSET
    default_secs: float = 1.0


class SimulatedStep(Struct, kw_only=True):
    """A step of a simulation: when it begins and ends, in seconds from the trigger; null when its turn never comes."""

    step_ref: str
    step_type: StepType
    status: StepStatus
    starts_at_secs: float | None
    ends_at_secs: float | None
    length_from: LengthFrom
    on_critical_path: bool
    note: str | None


class WorkflowSimulation(Struct, kw_only=True):
    """What a run of the workflow would do, and how long it would take.

    `order` lists the steps as they begin; `critical_path` is the chain that takes longest; `undone` what a compensation
    undoes, one level after the other.
    """

    workflow_version: int
    status: RunStatus
    total_secs: float
    max_parallelism: int
    order: list[str]
    critical_path: list[str]
    undone: list[list[str]]
    steps: list[SimulatedStep]
