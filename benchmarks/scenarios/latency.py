"""From a trigger's first byte out to the first byte of its request at the endpoint: idle, and at half load."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import invariants, noise
from benchmarks.bed import Bed, Daemon, wait_until
from benchmarks.load import quantile
from benchmarks.measure import Figure, Scale, Scenario, at_most
from benchmarks.scenarios.trigger import body_file, make_job, send

IDLE_RATE = 50
CAPACITY_CONNECTIONS = 32


def at_rate(bed: Bed, daemon: Daemon, rate: float, secs: float) -> list[float]:
    """Latencies in ms of triggers that leave on their dates."""
    bed.endpoint.reset()
    said = bed.say(
        ["benchmarks.load", f"{daemon.url}/v1/jobs/bench/trigger", "--stamp", "--rate", str(rate), "--secs", str(secs)]
    )
    sent = sum(said["statuses"].values())
    wait_until(lambda: bed.endpoint.stats()["requests"] >= sent, 60, "the last run")
    return bed.endpoint.latencies_ms()


def capacity(bed: Bed, daemon: Daemon, count: int) -> float:
    """Triggers a second that this daemon takes in and carries out, all at once."""
    bed.endpoint.reset()
    send(bed, f"{daemon.url}/v1/jobs/bench/trigger", count, CAPACITY_CONNECTIONS, body_file(bed))
    stats = wait_until(lambda: (s := bed.endpoint.stats())["requests"] >= count and s, 60, "the last run")
    return count / ((stats["last_at"] - stats["first_at"]) / 1e9)


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    secs = scale.of(5, 3)
    both = Figure("triggered and carried out", "runs/s")
    figures = {
        ("idle", 0.5): Figure("latency idle p50", "ms", target=at_most(3)),
        ("idle", 0.95): Figure("latency idle p95", "ms"),
        ("idle", 0.99): Figure("latency idle p99", "ms", target=at_most(12)),
        ("half", 0.5): Figure("latency at half load p50", "ms"),
        ("half", 0.95): Figure("latency at half load p95", "ms"),
        ("half", 0.99): Figure("latency at half load p99", "ms", target=at_most(50)),
    }
    every = [*figures.values(), both]
    for _ in noise.rounds(scale, every):
        with bed.database() as url:
            with bed.daemon(url, mode="all") as daemon:
                make_job(bed, daemon, "/stamp")
                at_rate(bed, daemon, IDLE_RATE, 1)
                idle = at_rate(bed, daemon, IDLE_RATE, secs)
                both.add(capacity(bed, daemon, scale.of(8_000, 3_000)))
                half = at_rate(bed, daemon, both.samples[-1] / 2, secs)
                for (load, share), figure in figures.items():
                    figure.add(quantile(idle if load == "idle" else half, share))
            invariants.check(url)
    return every


SCENARIO = Scenario("latency", "trigger → first byte at the endpoint", measure)
