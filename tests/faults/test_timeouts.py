"""Time limits on an otherwise idle daemon: an attempt is never ended early, and hardly late."""

from __future__ import annotations

import pytest

from tests.faults.checks import wait_for_all
from tests.support.daemon import running_daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.sizes import size

RUNS = size(ci=20, soak=1_000)
# A machine that runs other tests beside this one is late for reasons of its own.
LATE_MS = size(ci=1_000, soak=100)
LIMITS_SECS = size(ci=(1, 2), soak=(1, 2, 3, 5))
EACH = 10


@pytest.mark.slow
@pytest.mark.soak
def test_never_early_and_hardly_late(database: str, endpoint: Endpoint, figures: Figures):
    """20 attempts that hang (1,000 in a soak, where the 99th of a hundred is at most 100 ms late)."""
    late: list[float] = []
    with running_daemon(database) as daemon:
        for secs in LIMITS_SECS:
            more = {"timeout_secs": secs, "max_attempts": 1, "breaker_threshold": 0}
            daemon.make_job(endpoint.url("/hang"), f"limit-{secs}", **more)
        made = 0
        while made < RUNS:
            runs = {run_id: secs for secs in LIMITS_SECS for run_id in daemon.trigger_many(EACH, f"limit-{secs}")}
            made += len(runs)
            wait_for_all(database, made)
            for run_id, secs in runs.items():
                (attempt,) = daemon.call("GET", f"/v1/runs/{run_id}/attempts")["data"]
                assert attempt["outcome"] == "timed_out"
                late.append(attempt["timings_ms"]["total"] - secs * 1_000)
    late.sort()
    middle, most = late[len(late) // 2], late[len(late) * 99 // 100]
    figures.note(
        f"timeouts of {len(late)} attempts", f"late by {late[0]:.1f} ms at least, p50 {middle:.1f}, p99 {most:.1f}"
    )
    assert late[0] >= 0
    assert most <= LATE_MS
