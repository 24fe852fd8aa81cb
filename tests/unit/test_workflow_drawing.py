"""Graphs drawn for terminals: what is said of which step leads to which can be read off the lines again."""

from __future__ import annotations

import random

import pytest

from strait_core.workflow.boxes import WIDTH, boxes
from strait_core.workflow.definition import StepSpec, StepType
from strait_core.workflow.graph import graph_of

UP, DOWN, LEFT, RIGHT = (0, -1), (0, 1), (-1, 0), (1, 0)
# Where a line may go on from each character.
ENDS = {
    "│": {UP, DOWN}, "─": {LEFT, RIGHT}, "┌": {DOWN, RIGHT}, "┐": {DOWN, LEFT}, "└": {UP, RIGHT}, "┘": {UP, LEFT},
    "├": {UP, DOWN, RIGHT}, "┤": {UP, DOWN, LEFT}, "┬": {DOWN, LEFT, RIGHT}, "┴": {UP, LEFT, RIGHT},
    "┼": {UP, DOWN, LEFT, RIGHT},
}  # fmt: skip


def step(ref: str, *depends_on: str, kind: StepType = StepType.JOB) -> StepSpec:
    return StepSpec(ref, kind, job_id="x", depends_on=depends_on)


def random_steps(seed: int, count: int) -> list[StepSpec]:
    chance = random.Random(seed)
    refs = [f"step-{n}" for n in range(count)]
    return [step(ref, *chance.sample(refs[:n], min(n, chance.choice((1, 1, 1, 2, 3))))) for n, ref in enumerate(refs)]


def links(drawn: str, refs: list[str]) -> set[tuple[str, str]]:
    """The pairs of boxes that lines lead between, from the lower edge of one to the arrow above the other."""
    lines = drawn.split("\n")
    cells = {(x, y): char for y, line in enumerate(lines) for x, char in enumerate(line)}
    names = {(line.index(f" {ref} "), y): ref for ref in refs for y, line in enumerate(lines) if f" {ref} " in line}
    found = set()
    for (x, y), upper in names.items():
        exits = [at for at in range(x, x + len(upper) + 2) if cells.get((at, y + 1)) in {"┬", "┯"}]
        for column in exits:
            found |= {(upper, lower) for lower in _reached(cells, names, (column, y + 2))}
    return found


def _reached(cells: dict[tuple[int, int], str], names: dict[tuple[int, int], str], start: tuple[int, int]) -> set[str]:
    """The boxes whose arrows can be reached by a line that only ever goes down and aside."""
    reached: set[str] = set()
    waiting = [(start, DOWN)]
    seen = set()
    while waiting:
        (x, y), heading = waiting.pop()
        if ((x, y), heading) in seen:
            continue
        seen.add(((x, y), heading))
        char = cells.get((x, y), " ")
        if char == "▼":
            reached |= {ref for (at, row), ref in names.items() if row == y + 2 and at - 1 <= x <= at + len(ref) + 2}
        elif char == "│" and heading in {LEFT, RIGHT}:
            waiting.append(((x + heading[0], y), heading))
        else:
            back = (-heading[0], -heading[1])
            waiting += [((x + ahead[0], y + ahead[1]), ahead) for ahead in ENDS.get(char, set()) - {back, UP}]
    return reached


@pytest.mark.parametrize("seed", range(20))
def test_lines_lead_where_dependencies_do(seed: int):
    """Every dependency that does not follow from others can be followed along its line, within 120 columns."""
    steps = random_steps(seed, 30)
    drawn = boxes(steps)
    graph = graph_of(steps)
    needed = {(graph.refs[one], graph.refs[at]) for at, above in enumerate(graph.needed_parents()) for one in above}
    assert max(map(len, drawn.split("\n"))) <= WIDTH
    assert needed <= links(drawn, list(graph.refs))


def test_a_chain_and_its_notes():
    """Heavy boxes are the longest chain; other types say what they are; what follows from others is left out."""
    steps = [step("a"), step("b", "a", kind=StepType.WAIT_FOR_EVENT), step("c", "a"), step("d", "a", "b")]
    drawn = boxes(steps)
    assert "┃ b · wait for event ┃" in drawn
    assert "│ c │" in drawn
    assert "1 of the dependencies" in drawn
    assert boxes([step("alone")]) == "┏━━━━━━━┓\n┃ alone ┃\n┗━━━━━━━┛\n"


@pytest.mark.parametrize(
    ("steps", "width"),
    [
        (random_steps(1, 400), WIDTH),
        ([step("x" * 64), step("y" * 64, "x" * 64)], 30),
        ([step(f"s{n}", *(f"s{m}" for m in range(n))) for n in range(151)], WIDTH),
    ],
)
def test_what_does_not_fit_is_listed(steps: list[StepSpec], width: int):
    """Level by level, each step with what it depends on."""
    drawn = boxes(steps, width)
    assert drawn.startswith("level 1\n")
    assert "▼" not in drawn
    assert all(line.strip() for line in drawn.splitlines())


def test_wide_rows_are_folded():
    """A level that is wider than the terminal takes several rows, and its lines still lead to the join."""
    leaves = [f"leaf-{n:02}" for n in range(28)]
    steps = [step("root"), *(step(leaf, "root") for leaf in leaves), step("join", *leaves)]
    drawn = boxes(steps)
    assert max(map(len, drawn.split("\n"))) <= WIDTH
    assert sum(f" {leaf} " in drawn for leaf in leaves) == 28
