"""What a schedule belongs to, and fires: a job or a workflow. Both have a definition that says when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from strait_core.job import JobSpec
from strait_core.workflow.definition import NO_STEPS, Timed, read_spec

_decode: Final = msgspec.json.Decoder(JobSpec).decode


class Kind(StrEnum):
    """What a schedule fires."""

    JOB = "job"
    WORKFLOW = "workflow"


@dataclass(frozen=True, slots=True)
class Owner:
    """The job or the workflow that a schedule belongs to, as it is now; of a workflow without its steps."""

    kind: Kind
    id: UUID
    version: int
    spec: Timed

    @property
    def is_flow(self) -> bool:
        """Whether it is a workflow."""
        return self.kind is Kind.WORKFLOW


def owner_of(kind: str, owner_id: UUID, version: int, definition: str) -> Owner:
    """An owner from what is stored of it; raises msgspec's MsgspecError when that cannot be read."""
    spec: Timed = _decode(definition) if kind == Kind.JOB else read_spec(definition, NO_STEPS)
    return Owner(Kind(kind), owner_id, version, spec)
