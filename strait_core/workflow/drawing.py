"""A workflow's graph in the languages of other programs: Mermaid and Graphviz.

Names of steps are letters, digits, `_` and `-`, so they need no escaping inside of quotes; nodes are numbered.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Final

from strait_core.wire.workflow_runs import RunNode, WorkflowRunGraph
from strait_core.wire.workflows import WorkflowGraph
from strait_core.workflow.definition import StepType
from strait_core.workflow.states import StepStatus


class GraphFormat(StrEnum):
    """How a graph is drawn: as data, for people, for Mermaid, for Graphviz."""

    JSON = "json"
    ASCII = "ascii"
    MERMAID = "mermaid"
    DOT = "dot"


_MERMAID: Final[Mapping[StepType, tuple[str, str]]] = {
    StepType.JOB: ("[", "]"),
    StepType.APPROVAL: ("{{", "}}"),
    StepType.SUB_WORKFLOW: ("[[", "]]"),
    StepType.WAIT_FOR_EVENT: ("([", "])"),
    StepType.SLEEP: ("(", ")"),
}
_DOT: Final[Mapping[StepType, str]] = {
    StepType.JOB: "box",
    StepType.APPROVAL: "hexagon",
    StepType.SUB_WORKFLOW: "box3d",
    StepType.WAIT_FOR_EVENT: "cds",
    StepType.SLEEP: "ellipse",
}
_FILLS: Final[Mapping[StepStatus, str]] = {
    StepStatus.PENDING: "#eeeeee",
    StepStatus.WAITING: "#fff3bf",
    StepStatus.RUNNING: "#a5d8ff",
    StepStatus.COMPLETED: "#b2f2bb",
    StepStatus.FAILED: "#ffc9c9",
    StepStatus.SKIPPED: "#dee2e6",
    StepStatus.CANCELED: "#ced4da",
}


def mermaid(graph: WorkflowGraph | WorkflowRunGraph) -> str:
    """The graph as a Mermaid flowchart; thick lines on the critical path, of a run colours for states."""
    number, critical = {node.step_ref: at for at, node in enumerate(graph.nodes)}, _critical(graph)
    lines = ["flowchart TD"]
    for at, node in enumerate(graph.nodes):
        left, right = _MERMAID[node.step_type]
        lines.append(f'    n{at}{left}"{node.step_ref}"{right}')
    for edge in graph.edges:
        arrow = "==>" if (edge.before, edge.after) in critical else "-->"
        lines.append(f"    n{number[edge.before]} {arrow} n{number[edge.after]}")
    by_state: dict[StepStatus, list[str]] = {}
    for at, node in enumerate(graph.nodes):
        if isinstance(node, RunNode):
            by_state.setdefault(node.status, []).append(f"n{at}")
    for status, names in by_state.items():
        lines += [f"    classDef {status} fill:{_FILLS[status]}", f"    class {','.join(names)} {status}"]
    return "\n".join(lines) + "\n"


def dot(graph: WorkflowGraph | WorkflowRunGraph) -> str:
    """The graph for Graphviz; bold lines on the critical path, of a run colours for states."""
    number, critical = {node.step_ref: at for at, node in enumerate(graph.nodes)}, _critical(graph)
    lines = ["digraph workflow {", "    rankdir=TB;"]
    for at, node in enumerate(graph.nodes):
        filled = f', style=filled, fillcolor="{_FILLS[node.status]}"' if isinstance(node, RunNode) else ""
        lines.append(f'    n{at} [label="{node.step_ref}", shape={_DOT[node.step_type]}{filled}];')
    for edge in graph.edges:
        style = " [style=bold]" if (edge.before, edge.after) in critical else ""
        lines.append(f"    n{number[edge.before]} -> n{number[edge.after]}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _critical(graph: WorkflowGraph | WorkflowRunGraph) -> set[tuple[str, str]]:
    """The pairs of steps that follow each other on the critical path."""
    return set(pairwise(graph.critical_path))
