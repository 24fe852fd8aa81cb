"""The same drain with a dispatcher that calls nobody: what the peers' no-op jobs are to be compared with."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import drains, noise
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario

# The default of WORKER_POOL_SIZE, and the batch that PgQueuer is measured with.
IN_FLIGHT = 100


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(50_000, 10_000)
    rate = Figure("noop drain", "runs/s")
    daemon = Figure("noop: daemon CPU per run", "µs")
    database = Figure("noop: PostgreSQL CPU per run", "µs")
    figures = [rate, daemon, database]
    for _ in noise.rounds(scale, figures):
        drained = drains.through_nobody(bed, count, slots=IN_FLIGHT)
        rate.add(drained.rate)
        daemon.add(drained.daemon_us)
        database.add(drained.postgres_us)
    return figures


SCENARIO = Scenario("noop", "queued runs through a dispatcher that calls nobody", measure)
