"""Single triggers over 32 connections, beside a prototype that only gathers requests into one INSERT."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any

from benchmarks import invariants, noise
from benchmarks.bed import Bed, Daemon, end, free_port, wait_until
from benchmarks.measure import Figure, Scale, Scenario, ratio_at_least

CONNECTIONS = 32
WARM = 500


def make_job(bed: Bed, daemon: Daemon, endpoint: str = "/ok", **fields: object) -> None:
    """The job `bench` in the daemon's API, once it serves."""
    wait_until(daemon.serving, 30, "the API")
    body = {"project_id": "bench", "name": "Bench", "slug": "bench", "endpoint_url": bed.endpoint.url(endpoint)}
    daemon.call("POST", "/v1/jobs", {**body, **fields})


def body_file(bed: Bed) -> Path:
    path = bed.folder / "trigger.json"
    path.write_text('{"payload":{"greeting":"Hello from Strait!","number":12345}}')
    return path


def send(bed: Bed, url: str, count: int, connections: int, body: Path) -> dict[str, Any]:
    """Closed-loop triggers; every one must be accepted."""
    said: dict[str, Any] = bed.say(
        ["benchmarks.load", url, "--connections", str(connections), "--count", str(count), "--body", str(body)]
    )
    if said["statuses"] != {"201": count}:
        raise AssertionError(f"not all were accepted: {said['statuses']}")
    return said


def of_prototype(bed: Bed, count: int) -> dict[str, Any]:
    with bed.database() as url:
        port = free_port()
        process = bed.spawn([sys.executable, "-m", "benchmarks.ceilings.batched_trigger", url, str(port)])
        try:
            sleep(1)
            send(bed, f"http://127.0.0.1:{port}/trigger", WARM, CONNECTIONS, body_file(bed))
            return send(bed, f"http://127.0.0.1:{port}/trigger", count, CONNECTIONS, body_file(bed))
        finally:
            end(process)


def of_strait(bed: Bed, count: int) -> dict[str, Any]:
    with bed.database() as url:
        with bed.daemon(url, mode="api") as daemon:
            make_job(bed, daemon)
            target = f"{daemon.url}/v1/jobs/bench/trigger"
            send(bed, target, WARM, CONNECTIONS, body_file(bed))
            said = send(bed, target, count, CONNECTIONS, body_file(bed))
        invariants.check(url)
        return said


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(20_000, 4_000)
    name = "gathered INSERT of a bare Starlette"
    rate = Figure("trigger", "triggers/s", ceiling=name, target=ratio_at_least(0.8))
    wait = Figure("trigger: answered, p99", "ms", ceiling=name)
    figures = [rate, wait]
    for _ in noise.rounds(scale, figures):
        prototype, strait = of_prototype(bed, count), of_strait(bed, count)
        rate.add(strait["rate"], prototype["rate"])
        wait.add(strait["p99_ms"], prototype["p99_ms"])
    return figures


SCENARIO = Scenario("trigger", f"single triggers over {CONNECTIONS} connections", measure)
