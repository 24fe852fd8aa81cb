"""Bulk triggers of a thousand items each over two connections."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks import invariants
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario, at_least
from benchmarks.scenarios.trigger import make_job, send

CONNECTIONS = 2
ITEMS = 1_000


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    requests = scale.of(100, 20)
    rate = Figure("bulk trigger", "triggers/s", target=at_least(40_000))
    body = bed.folder / "bulk.json"
    items = [{"payload": {"greeting": "Hello from Strait!", "number": number}} for number in range(ITEMS)]
    body.write_text(json.dumps({"items": items}, separators=(",", ":")))
    for _ in range(scale.rounds):
        with bed.database() as url:
            with bed.daemon(url, mode="api") as daemon:
                make_job(bed, daemon)
                target = f"{daemon.url}/v1/jobs/bench/trigger/bulk"
                send(bed, target, CONNECTIONS, CONNECTIONS, body)
                rate.add(send(bed, target, requests, CONNECTIONS, body)["rate"] * ITEMS)
            invariants.check(url)
    return [rate]


SCENARIO = Scenario("bulk", f"bulk triggers of {ITEMS} items over {CONNECTIONS} connections", measure)
