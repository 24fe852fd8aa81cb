"""The line between a daemon and its database: cut, slow, silent, and with too few connections, all of it under load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.between import Between, proxy_between
from tests.faults.checks import expect_nothing_lost, expect_recovery, rate, rate_before
from tests.faults.load import triggering
from tests.support.daemon import running_daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.sizes import size
from tests.support.waiting import eventually

JOB: dict[str, Any] = {"max_attempts": 100, "retry_strategy": "fixed", "breaker_threshold": 0}
ROUNDS = size(ci=1, soak=5)
SILENT_SECS = size(ci=3.0, soak=10.0)


def cut(line: Between, _: Endpoint) -> None:
    """Every connection is reset, three times."""
    for _round in range(3):
        line.do(line.proxy.cut)


def refused(line: Between, endpoint: Endpoint) -> None:
    """Nobody gets through, for a while."""
    line.do(line.proxy.refuse)
    quiet(endpoint)
    line.do(line.proxy.refuse, False)


def silent(line: Between, endpoint: Endpoint) -> None:
    """Half-open: connections stay, and no byte passes for longer than a heartbeat may be missing."""
    line.do(line.proxy.freeze)
    quiet(endpoint)
    line.do(line.proxy.thaw)


def quiet(endpoint: Endpoint) -> None:
    """Wait until no call has come for SILENT_SECS."""
    eventually(lambda: rate(endpoint, SILENT_SECS) == 0, 60)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("fault", [cut, refused, silent])
def test_a_line_that_fails(migrated: str, endpoint: Endpoint, fault: Callable, figures: Figures):
    """Once in CI, five times in a soak: whatever was accepted completes, and the rate comes back within 15 s."""
    with proxy_between(migrated) as line, running_daemon(line.url) as daemon:
        daemon.make_job(endpoint.url("/slow/0.02"), **JOB)
        with triggering(daemon.port) as load:
            for _ in range(ROUNDS):
                load.wait_for(50)
                before = rate_before(endpoint)
                fault(line, endpoint)
                figures.note(f"back after {fault.__name__}", expect_recovery(endpoint, before))
        expect_nothing_lost(migrated, load, endpoint)
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.said


@pytest.mark.soak
def test_a_slow_line(migrated: str, endpoint: Endpoint, figures: Figures):
    """Every packet 50 ms late, in both directions: slower, and nothing else; and as quick as before when that is over."""
    with proxy_between(migrated) as line, running_daemon(line.url) as daemon:
        daemon.make_job(endpoint.url("/slow/0.02"), **JOB)
        with triggering(daemon.port) as load:
            load.wait_for(50)
            before = rate_before(endpoint)
            line.slow(0.05)
            load.wait_for(100, 60)
            line.slow(0)
            figures.note("back after a slow line", expect_recovery(endpoint, before))
        expect_nothing_lost(migrated, load, endpoint)
        assert daemon.stop() == 0


@pytest.mark.soak
def test_a_server_without_connections_to_give(migrated: str, endpoint: Endpoint, figures: Figures):
    """Every connection is cut and none is given for a while, to a daemon whose triggers outnumber its pool."""
    with proxy_between(migrated) as line, running_daemon(line.url) as daemon:
        daemon.make_job(endpoint.url("/ok"), **JOB)
        with triggering(daemon.port, threads=32) as load:
            load.wait_for(100)
            before = rate_before(endpoint)
            line.do(line.proxy.refuse)
            eventually(lambda: load.refused or load.lost, 40)
            line.do(line.proxy.refuse, False)
            figures.note("back after no connections", expect_recovery(endpoint, before))
        expect_nothing_lost(migrated, load, endpoint)
        assert daemon.stop() == 0
