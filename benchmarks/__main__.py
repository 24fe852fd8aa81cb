"""`python -m benchmarks`: runs scenarios, prints each figure beside what it is to reach, keeps the results as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from time import monotonic

from benchmarks import machine, report
from benchmarks.bed import ROOT, Bed
from benchmarks.measure import Scale, Scenario, by_name
from benchmarks.scenarios import all_scenarios


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="A,B", help="these scenarios")
    parser.add_argument("--rounds", type=int, help="rounds of each scenario; the median counts (default 3)")
    parser.add_argument(
        "--quick", action="store_true", help="one small round of the short ones: whether it works, not how fast"
    )
    parser.add_argument(
        "--name", help="keep the results as results/NAME.json (default: latest); --only adds to it", default="latest"
    )
    parser.add_argument(
        "--size", type=int, default=1, help="multiply what ages or fills a database (20: a million runs)"
    )
    parser.add_argument("--calm", action="store_true", help="repeat rounds that other programs disturbed")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    return parser.parse_args(words)


def chosen(words: argparse.Namespace) -> list[Scenario]:
    scenarios = all_scenarios()
    if not words.only:
        return [scenario for scenario in scenarios if not (words.quick and scenario.long)]
    known = by_name(scenarios)
    names = words.only.split(",")
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no such scenario: {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names]


def run(scenarios: Sequence[Scenario], scale: Scale, name: str) -> None:
    """Measure, show and keep; what was measured is kept even when a later scenario fails."""
    path = None
    with Bed.made() as bed:
        described = machine.describe(bed.server)
        print(", ".join(f"{key} {value}" for key, value in described.items() if key != "packages"))
        for scenario in scenarios:
            began, rounds = monotonic(), len(scale.foreign)
            print(f"\n{scenario.name}: {scenario.about}", flush=True)
            figures = scenario.measure(bed, scale)
            print(report.table(figures))
            foreign = scale.foreign[rounds:]
            most = max(foreign, default=0.0)
            print(f"({monotonic() - began:.0f} s; other programs used up to {most:.2f} cores)", flush=True)
            path = report.add(
                name,
                described,
                scenario.name,
                figures,
                foreign,
                rounds=scale.rounds,
                quick=scale.quick,
                size=scale.size,
            )
    if path is not None:
        print(f"\nresults: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


def main() -> None:
    words = parse(sys.argv[1:])
    if words.list:
        for scenario in all_scenarios():
            print(f"{scenario.name:12}{scenario.about}{' (with --quick only when named)' if scenario.long else ''}")
        return
    scale = Scale(rounds=words.rounds or (1 if words.quick else 3), quick=words.quick, calm=words.calm, size=words.size)
    scenarios = chosen(words)
    if not words.only:
        report.forget(words.name)
    run(scenarios, scale, words.name)


if __name__ == "__main__":
    main()
