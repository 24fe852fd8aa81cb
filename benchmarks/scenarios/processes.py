"""The drain with two worker processes, beside the bare loop of the HTTP client in one."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import drains, noise
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario, ratio_at_least
from benchmarks.scenarios.drain import IN_FLIGHT, bare

PROCESSES = 2


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(20_000, 4_000)
    rate = Figure(f"drain, {PROCESSES} processes", "runs/s", ceiling="bare aiohttp loop", target=ratio_at_least(0.9))
    for _ in noise.rounds(scale, [rate]):
        ceiling = bare(bed, count)
        rate.add(drains.through_endpoint(bed, count, slots=IN_FLIGHT, processes=PROCESSES).rate, ceiling["rate"])
    return [rate]


SCENARIO = Scenario("processes", "the same drain with --processes 2", measure, long=True)
