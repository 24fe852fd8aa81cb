"""One version of a workflow, compiled for running: its steps by index, and what hangs on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from strait_core.workflow.definition import StepSpec, WorkflowSpec
from strait_core.workflow.graph import Graph, graph_of


@dataclass(frozen=True)
class Snapshot:
    """A definition without faults. Steps are known by their place in it, their `index`."""

    spec: WorkflowSpec
    graph: Graph

    @property
    def steps(self) -> tuple[StepSpec, ...]:
        """The steps, by index."""
        return self.spec.steps

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The index of each ref."""
        return {step.step_ref: at for at, step in enumerate(self.steps)}

    @cached_property
    def rank(self) -> tuple[int, ...]:
        """Of each step its place in the topological order."""
        rank = [0] * len(self.steps)
        for place, at in enumerate(self.graph.order):
            rank[at] = place
        return tuple(rank)

    @cached_property
    def is_limited(self) -> bool:
        """Whether a step that is ready may have to wait for another one to end."""
        return self.spec.max_parallel_steps is not None or any(step.concurrency_key for step in self.steps)

    def below(self, at: int) -> set[int]:
        """Every step that depends on this one, directly or not."""
        found: set[int] = set()
        waiting = [at]
        while waiting:
            for one in self.graph.children[waiting.pop()]:
                if one not in found:
                    found.add(one)
                    waiting.append(one)
        return found


def snapshot_of(spec: WorkflowSpec) -> Snapshot:
    """Compile a definition that has passed validation."""
    return Snapshot(spec, graph_of(spec.steps))
