"""Results: one JSON file per run of the program, one table on the console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, Target

RESULTS = Path(__file__).parent / "results"


def spelled(value: float) -> str:
    """A figure as people read it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _target(target: Target | None) -> str:
    if target is None:
        return ""
    sign = "≥" if target.at_least else "≤"
    return f"{sign} {target.bound:g} ×" if target.of_ratio else f"{sign} {spelled(target.bound)}"


def rows(figures: Sequence[Figure]) -> list[list[str]]:
    """What the table shows of each figure."""
    made = []
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} ×"
        verdict = {None: "", True: "pass", False: "MISS"}[figure.met]
        low, high = min(figure.samples), max(figure.samples)
        spread = f"{spelled(low)} … {spelled(high)}" if len(figure.samples) > 1 else ""
        value = f"{spelled(figure.value)} {figure.unit}"
        made.append([figure.name, value, spread, ratio, _target(figure.target), verdict])
    return made


def table(figures: Sequence[Figure], *, beside: str = "of ceiling") -> str:
    """One line for each figure; `beside` heads the column of ratios."""
    head = ["figure", "median", "rounds", beside, "reach", ""]
    lines = [head, *rows(figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def write(name: str, machine: Mapping[str, Any], figures: Mapping[str, Sequence[Figure]], **more: Any) -> Path:
    """Keep the results as `results/NAME.json`."""
    scenarios = {scenario: [figure.as_json() for figure in found] for scenario, found in figures.items()}
    return _store(name, {"measured_on": _today(), "machine": machine, **more, "scenarios": scenarios})


def add(
    name: str,
    machine: Mapping[str, Any],
    scenario: str,
    figures: Sequence[Figure],
    foreign: Sequence[float],
    **more: Any,
) -> Path:
    """Put one scenario's results into `results/NAME.json`, beside what stands there."""
    path = RESULTS / f"{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"foreign": {}, "scenarios": {}}
    kept["scenarios"][scenario] = [figure.as_json() for figure in figures]
    kept["foreign"][scenario] = list(foreign)
    return _store(name, {**kept, "measured_on": _today(), "machine": machine, **more})


def forget(name: str) -> None:
    """Begin anew: nothing of an earlier run may stand beside the next one's results."""
    (RESULTS / f"{name}.json").unlink(missing_ok=True)


def _store(name: str, body: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
