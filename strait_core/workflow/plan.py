"""In what order the steps of a workflow go, how many at once, and what leads to what."""

from __future__ import annotations

from strait_core.wire.workflows import GraphEdge, GraphNode, WorkflowGraph, WorkflowPlan
from strait_core.workflow.definition import WorkflowSpec
from strait_core.workflow.graph import Graph, graph_of


def critical_path(graph: Graph) -> list[int]:
    """The longest chain, as long as nothing is known of how long steps take."""
    return graph.longest_path([1.0] * len(graph.refs))


def planned(spec: WorkflowSpec, version: int) -> WorkflowPlan:
    """The plan of a valid definition."""
    graph = graph_of(spec.steps)
    widest = max(map(len, graph.levels))
    return WorkflowPlan(
        workflow_version=version,
        step_count=len(graph.refs),
        roots=[graph.refs[step] for step in graph.roots],
        topological_order=[graph.refs[step] for step in graph.order],
        levels=[[graph.refs[step] for step in level] for level in graph.levels],
        max_parallelism=min(widest, spec.max_parallel_steps or widest),
        critical_path=[graph.refs[step] for step in critical_path(graph)],
    )


def drawn(spec: WorkflowSpec) -> WorkflowGraph:
    """The graph of a valid definition, as data."""
    graph = graph_of(spec.steps)
    critical = critical_path(graph)
    on_path = set(critical)
    return WorkflowGraph(
        nodes=[
            GraphNode(step_ref=step.step_ref, step_type=step.step_type, level=level, on_critical_path=at in on_path)
            for at, (step, level) in enumerate(zip(spec.steps, graph.level, strict=True))
        ],
        edges=[GraphEdge(before=ref, after=step.step_ref) for step in spec.steps for ref in step.depends_on],
        roots=[graph.refs[step] for step in graph.roots],
        critical_path=[graph.refs[step] for step in critical],
    )
