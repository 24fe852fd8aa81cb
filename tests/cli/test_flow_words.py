"""What a person reads of plans and timelines, at a width."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from strait_cli.flow_words import plan_lines, timeline_lines

NOW = datetime(2030, 1, 16, 12, 0, 20, tzinfo=UTC)


def at(second: int) -> str:
    return f"2030-01-16T12:00:{second:02}Z"


def step(ref: str, status: str, began: int | None, ended: int | None, waited: float = 0) -> dict[str, Any]:
    return {
        "step_ref": ref,
        "status": status,
        "started_at": None if began is None else at(began),
        "finished_at": None if ended is None else at(ended),
        "wait_ms": waited,
    }


def test_a_plan_is_read_level_by_level():
    """Each level on lines of its own, none wider than the terminal, names whole; then the longest chain."""
    refs = [f"transform-table-{n}" for n in range(6)]
    told = {"levels": [["extract"], refs, ["load"]], "step_count": 8, "max_parallelism": 6}
    lines = list(plan_lines({**told, "critical_path": ["extract", refs[0], "load"]}, 60))
    assert max(map(len, lines)) <= 60
    assert lines[:3] == [
        "1  extract",
        "2  transform-table-0, transform-table-1, transform-table-2,",
        "   transform-table-3, transform-table-4, transform-table-5",
    ]
    assert lines[-2:] == ["8 steps in 3 levels, at most 6 at once", "critical path: extract → transform-table-0 → load"]


def test_a_timeline_is_drawn_on_one_scale():
    """Bars begin and end where steps do; what goes on ends in an arrow; what never began has none."""
    steps = [
        step("a", "completed", 0, 10),
        step("b", "running", 10, None, waited=1500),
        step("nap", "completed", 15, 15),
        step("c", "skipped", None, 10),
    ]
    told = {"started_at": at(0), "finished_at": None, "steps": steps}
    assert list(timeline_lines(told, NOW, 69)) == [
        "+0 ms     a   [==========          ] completed in 10.0 s",
        "+10.0 s   b   [          =========>] running for 10.0 s, waited 1.5 s",
        "+15.0 s   nap [               =    ] completed in 0 ms",
        "-         c   [                    ] skipped",
    ]
    assert max(map(len, timeline_lines(told, NOW, 40))) <= 40


def test_a_timeline_of_an_instant():
    """A run that has only just begun, or took no time, or has not begun at all."""
    told = {"started_at": at(20), "finished_at": None, "steps": [step("a", "running", 20, None)]}
    (line,) = timeline_lines(told, NOW, 60)
    assert line.startswith("+0 ms     a [>>>>")
    assert list(timeline_lines({"started_at": None, "finished_at": None, "steps": []}, NOW, 80)) == []
