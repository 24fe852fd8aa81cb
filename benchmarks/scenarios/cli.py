"""How long a person waits for the command line, in starts of a bare Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter

from benchmarks import noise
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario, ratio_at_most
from benchmarks.scenarios.trigger import make_job

CLI = [sys.executable, "-m", "strait_cli"]


def timed_ms(words: Sequence[str], env: Mapping[str, str]) -> float:
    """One start; it must succeed."""
    began = perf_counter()
    subprocess.run(words, env=dict(env), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (perf_counter() - began) * 1000


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    starts = scale.of(15, 5)
    with bed.database() as url, bed.daemon(url, mode="api") as daemon:
        make_job(bed, daemon)
        plain = bed.environment(HOME=str(bed.folder))
        asked = ["--server", daemon.url, "--api-key", daemon.secret]
        cases = (
            ("strait --version", [*CLI, "--version"], plain, 6),
            ("strait --help", [*CLI, "--help"], plain, 15),
            ("strait jobs create --help", [*CLI, "jobs", "create", "--help"], plain, 15),
            ("completion of a verb", [*CLI, "jobs", "c"], {**plain, "_STRAIT_COMPLETE": "bash"}, 15),
            ("completion of a slug", [*CLI, *asked, "trigger", ""], {**plain, "_STRAIT_COMPLETE": "bash"}, 15),
            ("strait runs list", [*CLI, "runs", "list", *asked], plain, 25),
        )
        figures = [Figure(name, "ms", ceiling="bare Python", target=ratio_at_most(b)) for name, _, _, b in cases]
        for _ in noise.rounds(scale, figures):
            waits: list[list[float]] = [[] for _ in range(len(cases) + 1)]
            for _ in range(starts):
                waits[0].append(timed_ms([sys.executable, "-c", "pass"], plain))
                for found, (_, words, env, _) in zip(waits[1:], cases, strict=True):
                    found.append(timed_ms(words, env))
            for figure, found in zip(figures, waits[1:], strict=True):
                figure.add(median(found), median(waits[0]))
    return figures


SCENARIO = Scenario("cli", "starts of the command line, in starts of a bare Python", measure)
