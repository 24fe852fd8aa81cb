"""Bulk triggers of a thousand items each over two connections."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks import invariants, noise
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario, at_least
from benchmarks.scenarios.trigger import make_job, send

CONNECTIONS = 2
ITEMS = 1_000


def rate_of(bed: Bed, requests: int, *, items: int) -> float:
    """Runs a second taken in by bulk triggers of that many items."""
    body = bed.folder / "bulk.json"
    made = [{"payload": {"greeting": "Hello from Strait!", "number": number}} for number in range(items)]
    body.write_text(json.dumps({"items": made}, separators=(",", ":")))
    with bed.database() as url:
        with bed.daemon(url, mode="api") as daemon:
            make_job(bed, daemon)
            target = f"{daemon.url}/v1/jobs/bench/trigger/bulk"
            send(bed, target, CONNECTIONS, CONNECTIONS, body)
            rate: float = send(bed, target, requests, CONNECTIONS, body)["rate"] * items
        invariants.check(url)
    return rate


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    rate = Figure("bulk trigger", "triggers/s", target=at_least(40_000))
    for _ in noise.rounds(scale, [rate]):
        rate.add(rate_of(bed, scale.of(100, 20), items=ITEMS))
    return [rate]


SCENARIO = Scenario("bulk", f"bulk triggers of {ITEMS} items over {CONNECTIONS} connections", measure, long=True)
