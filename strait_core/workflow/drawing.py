"""A workflow's graph in the languages of other programs: Mermaid and Graphviz.

Names of steps are letters, digits, `_` and `-`, so they need no escaping inside of quotes; nodes are numbered.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Final

from strait_core.wire.workflows import WorkflowGraph
from strait_core.workflow.definition import StepType


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


def mermaid(graph: WorkflowGraph) -> str:
    """The graph as a Mermaid flowchart; thick lines on the critical path."""
    number, critical = {node.step_ref: at for at, node in enumerate(graph.nodes)}, _critical(graph)
    lines = ["flowchart TD"]
    for at, node in enumerate(graph.nodes):
        left, right = _MERMAID[node.step_type]
        lines.append(f'    n{at}{left}"{node.step_ref}"{right}')
    for edge in graph.edges:
        arrow = "==>" if (edge.before, edge.after) in critical else "-->"
        lines.append(f"    n{number[edge.before]} {arrow} n{number[edge.after]}")
    return "\n".join(lines) + "\n"


def dot(graph: WorkflowGraph) -> str:
    """The graph for Graphviz; bold lines on the critical path."""
    number, critical = {node.step_ref: at for at, node in enumerate(graph.nodes)}, _critical(graph)
    lines = ["digraph workflow {", "    rankdir=TB;"]
    lines += [
        f'    n{at} [label="{node.step_ref}", shape={_DOT[node.step_type]}];' for at, node in enumerate(graph.nodes)
    ]
    for edge in graph.edges:
        style = " [style=bold]" if (edge.before, edge.after) in critical else ""
        lines.append(f"    n{number[edge.before]} -> n{number[edge.after]}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _critical(graph: WorkflowGraph) -> set[tuple[str, str]]:
    """The pairs of steps that follow each other on the critical path."""
    return set(pairwise(graph.critical_path))
