"""A stranger can run the harness: it starts its own servers, checks what it has done, and says what it found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from benchmarks.measure import Figure, at_most, ratio_at_least
from benchmarks.scenarios import all_scenarios
from tests.support.daemon import ROOT

RESULTS: Final = ROOT / "benchmarks" / "results"


@pytest.mark.slow
def test_a_quick_run_prints_ratios_and_keeps_them(tmp_path: Path) -> None:
    """The short form ends well, names every target, and its results hold each figure with its ceiling."""
    words = [sys.executable, "-m", "benchmarks", "--quick", "--only", "drain,noop", "--name", str(tmp_path / "found")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert "≥ 0.55 ×" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    drain = found["scenarios"]["drain"][0]
    assert drain["ratio"] == pytest.approx(drain["samples"][0] / drain["ceilings"][0])
    assert found["machine"]["postgresql"].startswith("18")


def test_an_unknown_scenario_is_named() -> None:
    """A misspelled name ends at once and says which there are."""
    words = [sys.executable, "-m", "benchmarks", "--only", "drian"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no such scenario: drian" in done.stderr
    assert "drain" in done.stderr


def test_scenarios_have_names_of_their_own() -> None:
    """Results are kept by name, so no two scenarios share one."""
    names = [scenario.name for scenario in all_scenarios()]
    assert len(set(names)) == len(names)


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """Each round is compared with its own ceiling, so a slow minute of the machine takes no part in the verdict."""
    figure = Figure("drain", "runs/s", target=ratio_at_least(0.55))
    for ours, ceiling in ((600, 1_000), (60, 100), (5, 10)):
        figure.add(ours, ceiling)
    assert figure.ratio == pytest.approx(0.6)
    assert figure.met is True
    absolute = Figure("p50", "ms", [2, 9, 4], target=at_most(3))
    assert absolute.met is False
    assert Figure("p50", "ms", [2]).met is None


def test_kept_results_name_no_machine() -> None:
    """What is committed describes the machine without its name or its folders."""
    for path in RESULTS.glob("*.json"):
        text = path.read_text()
        assert not re.search(r"/(?:root|home|work|tmp)/", text), path.name
