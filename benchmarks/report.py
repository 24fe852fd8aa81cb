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


def table(figures: Sequence[Figure]) -> str:
    head = ["figure", "median", "rounds", "of ceiling", "reach", ""]
    lines = [head, *rows(figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def write(name: str, machine: Mapping[str, Any], figures: Mapping[str, Sequence[Figure]], **more: Any) -> Path:
    """Keep the results as `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    body = {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        **more,
        "scenarios": {scenario: [figure.as_json() for figure in found] for scenario, found in figures.items()},
    }
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n")
    return path
