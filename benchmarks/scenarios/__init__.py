"""The registry: one module per scenario, listed here in the order they run."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import Scenario
from benchmarks.scenarios import bulk, drain, latency, noop, trigger


def all_scenarios() -> Sequence[Scenario]:
    return [drain.SCENARIO, noop.SCENARIO, trigger.SCENARIO, bulk.SCENARIO, latency.SCENARIO]
