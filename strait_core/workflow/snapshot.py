"""One version of a workflow, compiled for running: its steps by index, and what hangs on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from strait_core import template
from strait_core.workflow import condition
from strait_core.workflow.condition import Mention
from strait_core.workflow.definition import StepSpec, WorkflowSpec, payload_of
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
    def needs(self) -> tuple[tuple[int, ...], ...]:
        """Of each step what has to be over before it begins: what it depends on, and what it names.

        What is named comes before the step in any case. But when a step begins anew, those between it and another that
        names it may stay completed.
        """
        parents = self.graph.parents
        return tuple(
            tuple(dict.fromkeys((*parents[at], *sorted(self.index[ref] for ref in _named(step)))))
            for at, step in enumerate(self.steps)
        )

    @cached_property
    def heirs(self) -> tuple[tuple[int, ...], ...]:
        """Of each step those that need it."""
        found: list[list[int]] = [[] for _ in self.steps]
        for at, needs in enumerate(self.needs):
            for one in needs:
                found[one].append(at)
        return tuple(map(tuple, found))

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


def _named(step: StepSpec) -> set[str]:
    """The steps that the condition and the templates of a step without faults name."""
    said = (payload_of(step), step.event_key, step.sleep_until, step.event_emit_key)
    mentions = [Mention(place, None, slot) for text in said for place, slot in template.slots_of(text, "")]
    if step.condition is not None:
        mentions += condition.mentions(step.condition, "")
    return {ref for one in mentions if (ref := one.names) is not None}


def snapshot_of(spec: WorkflowSpec) -> Snapshot:
    """Compile a definition that has passed validation."""
    return Snapshot(spec, graph_of(spec.steps))
