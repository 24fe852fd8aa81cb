"""The registry: one module per scenario, listed here in the order they run."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import Scenario
from benchmarks.scenarios import (
    bulk,
    changes,
    cli,
    cold_start,
    drain,
    flat,
    in_flight,
    latency,
    limits,
    noop,
    processes,
    promotion,
    schedules,
    streams,
    trigger,
    watchers,
    workflow,
)


def all_scenarios() -> Sequence[Scenario]:
    return [
        drain.SCENARIO,
        processes.SCENARIO,
        noop.SCENARIO,
        trigger.SCENARIO,
        bulk.SCENARIO,
        latency.SCENARIO,
        flat.SCENARIO,
        in_flight.SCENARIO,
        limits.SCENARIO,
        changes.SCENARIO,
        streams.SCENARIO,
        watchers.SCENARIO,
        cold_start.SCENARIO,
        schedules.SCENARIO,
        promotion.SCENARIO,
        workflow.SCENARIO,
        cli.SCENARIO,
    ]
