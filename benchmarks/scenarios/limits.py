"""A drain with every kind of limit on, beside the plain one: what being held to limits costs."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import drains, noise
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario, ratio_at_least

IN_FLIGHT = 64
# As an edit of the job leaves it: limits set, entries in the lane of its own; 20 keys over all runs.
_LANE = "UPDATE strait.ready SET lane = (SELECT own_lane FROM strait.jobs WHERE id = ready.job_id)"
CAPPED = f"UPDATE strait.jobs SET lane = own_lane, max_concurrency = {2 * IN_FLIGHT}; {_LANE}"
ALL = (
    f"UPDATE strait.jobs SET lane = own_lane, max_concurrency = {2 * IN_FLIGHT}, max_concurrency_per_key = {IN_FLIGHT},"
    " rate_limit_max = 1000000, rate_limit_window_secs = 1;"
    " UPDATE strait.runs SET concurrency_key = 'key-' || (ready_seq % 20)::text;" + _LANE
)


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(20_000, 4_000)
    capped = Figure("capped drain", "runs/s", ceiling="plain drain", target=ratio_at_least(0.7))
    keyed = Figure("drain with a cap, 20 keys and a rate", "runs/s", ceiling="plain drain")
    figures = [capped, keyed]
    for _ in noise.rounds(scale, figures):
        plain = drains.through_endpoint(bed, count, slots=IN_FLIGHT)
        capped.add(drains.through_endpoint(bed, count, slots=IN_FLIGHT, gate=CAPPED).rate, plain.rate)
        keyed.add(drains.through_endpoint(bed, count, slots=IN_FLIGHT, gate=ALL).rate, plain.rate)
    return figures


SCENARIO = Scenario("limits", "drains of jobs with limits, beside the plain drain", measure)
