"""Queued runs → completed through a loopback endpoint, beside the bare loop of the same HTTP client."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import drains, noise
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario, at_most, ratio_at_least, ratio_at_most

IN_FLIGHT = 64


def bare(bed: Bed, count: int, client: str = "bare_client") -> dict[str, float]:
    """Rate and CPU of a loop that only sends requests."""
    words = [f"benchmarks.ceilings.{client}", bed.endpoint.url(), str(IN_FLIGHT), str(count)]
    said: dict[str, float] = bed.say(words)
    return said


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(20_000, 4_000)
    rate = Figure("drain", "runs/s", ceiling="bare aiohttp loop", target=ratio_at_least(0.55))
    daemon = Figure("daemon CPU per run", "µs", ceiling="bare client's CPU per request", target=ratio_at_most(1.35))
    database = Figure("PostgreSQL CPU per run", "µs", target=at_most(45))
    least = Figure("minimal HTTP client, CPU per request", "µs", ceiling="bare client's CPU per request")
    figures = [rate, daemon, database, least]
    for _ in noise.rounds(scale, figures):
        ceiling = bare(bed, count)
        drained = drains.through_endpoint(bed, count, slots=IN_FLIGHT)
        rate.add(drained.rate, ceiling["rate"])
        daemon.add(drained.daemon_us, ceiling["cpu_us"])
        database.add(drained.postgres_us)
        least.add(bare(bed, count, "minimal_client")["cpu_us"], ceiling["cpu_us"])
    return figures


SCENARIO = Scenario("drain", "queued runs through a loopback endpoint, one process", measure)
