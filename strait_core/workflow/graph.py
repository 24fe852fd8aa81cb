"""The graph that the steps of a workflow make: cycles, order, levels, what comes before what, the longest way through.

Everything here takes time linear in the number of steps and dependencies, but `before_each`, which handles one bit per
step for each dependency.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from strait_core.workflow.definition import StepSpec

Edges = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Graph:
    """A graph without cycles; steps are numbers, as they stand in the definition."""

    refs: tuple[str, ...]
    # What each step depends on, and what depends on each.
    parents: tuple[tuple[int, ...], ...]
    children: tuple[tuple[int, ...], ...]
    # Every step behind all that it depends on: level by level, and in each as they are written.
    order: tuple[int, ...]
    # 0 for roots, else one more than the highest level among the parents.
    level: tuple[int, ...]

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The steps of each level, in the order of the definition."""
        found: list[list[int]] = [[] for _ in range(max(self.level, default=-1) + 1)]
        for step, level in enumerate(self.level):
            found[level].append(step)
        return tuple(map(tuple, found))

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """Steps that depend on nothing."""
        return tuple(step for step, parents in enumerate(self.parents) if not parents)

    def before_each(self) -> list[int]:
        """For each step, the set of all steps before it, as the bits of a number."""
        before = [0] * len(self.refs)
        for step in self.order:
            for parent in self.parents[step]:
                before[step] |= before[parent] | 1 << parent
        return before

    def longest_path(self, weights: Sequence[float]) -> list[int]:
        """The way from a root to the end that weighs most: the critical path. Of equal ones, the one written first."""
        if not self.refs:
            return []
        total = list(weights)
        came_from: list[int | None] = [None] * len(total)
        for step in self.order:
            heaviest = max(self.parents[step], key=lambda parent: total[parent], default=None)
            if heaviest is not None:
                total[step] += total[heaviest]
                came_from[step] = heaviest
        at: int | None = max(range(len(total)), key=lambda step: total[step])
        path = []
        while at is not None:
            path.append(at)
            at = came_from[at]
        return path[::-1]

    def needed_parents(self) -> list[tuple[int, ...]]:
        """For each step, the parents that do not follow from its other parents."""
        before = self.before_each()
        needed = []
        for parents in self.parents:
            implied = 0
            for parent in parents:
                implied |= before[parent]
            needed.append(tuple(parent for parent in parents if not implied >> parent & 1))
        return needed


def graph_of(steps: Sequence[StepSpec]) -> Graph:
    """The graph of the steps of a valid definition."""
    return graph_from({step.step_ref: step.depends_on for step in steps})


def graph_from(depends_on: Mapping[str, Sequence[str]]) -> Graph:
    """The graph of named steps, each with the names of those it depends on; there is no cycle."""
    number = {ref: at for at, ref in enumerate(depends_on)}
    parents = tuple(tuple(number[ref] for ref in named) for named in depends_on.values())
    children = _turned(parents)
    level = [0] * len(parents)
    for step in ordered(parents, children):
        level[step] = max((level[parent] + 1 for parent in parents[step]), default=0)
    order = sorted(range(len(parents)), key=lambda step: level[step])
    return Graph(tuple(number), parents, tuple(map(tuple, children)), tuple(order), tuple(level))


def _turned(parents: Edges) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in parents]
    for step, above in enumerate(parents):
        for parent in above:
            children[parent].append(step)
    return children


def ordered(parents: Edges, children: Edges) -> list[int]:
    """Every step behind all that it depends on; those on cycles, and behind them, are left out."""
    missing = [len(above) for above in parents]
    ready = deque(step for step, count in enumerate(missing) if count == 0)
    order = []
    while ready:
        step = ready.popleft()
        order.append(step)
        for child in children[step]:
            missing[child] -= 1
            if missing[child] == 0:
                ready.append(child)
    return order


def cycles(depends_on: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """One cycle for each knot of steps that wait for one another: `[a, b, c, a]`, where b depends on a.

    Names that are no steps, and steps that name themselves, are passed over.
    """
    number = {ref: at for at, ref in enumerate(depends_on)}
    parents = [[number[ref] for ref in named if ref in number and ref != step] for step, named in depends_on.items()]
    children = _turned(parents)
    settled = set(ordered(parents, children))
    refs = list(number)
    knots = _knots([step for step in range(len(refs)) if step not in settled], children, settled)
    return [[refs[step] for step in _round(min(knot), children, knot)] for knot in sorted(knots, key=min)]


def _knots(steps: Sequence[int], children: Edges, settled: set[int]) -> list[set[int]]:
    """The sets of two and more steps that all lead to one another (Tarjan's algorithm, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[set[int]] = []
    for start in steps:
        if start in index:
            continue
        work = [(start, iter(children[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            step, rest = work[-1]
            child = next((one for one in rest if one not in settled), None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[step])
                if low[step] == index[step]:
                    found.append(_taken(stack, on_stack, step))
            elif child not in index:
                index[child] = low[child] = len(index)
                stack.append(child)
                on_stack.add(child)
                work.append((child, iter(children[child])))
            elif child in on_stack:
                low[step] = min(low[step], index[child])
    return [knot for knot in found if len(knot) > 1]


def _taken(stack: list[int], on_stack: set[int], step: int) -> set[int]:
    """The knot that `step` closes, taken off the stack."""
    knot: set[int] = set()
    while step not in knot:
        one = stack.pop()
        on_stack.discard(one)
        knot.add(one)
    return knot


def _round(start: int, children: Edges, knot: set[int]) -> list[int]:
    """The shortest way from a step of a knot back to itself."""
    came_from: dict[int, int] = {}
    waiting = deque([start])
    while start not in came_from:
        step = waiting.popleft()
        for child in children[step]:
            if child in knot and child not in came_from:
                came_from[child] = step
                waiting.append(child)
    way = [start]
    while len(way) == 1 or way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]
