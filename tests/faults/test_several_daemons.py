"""Several daemons on one database: replaced one by one, with a wrong clock, with a Valkey that goes away."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from strait_daemon.embedded.binaries import find_valkey
from tests.faults.checks import expect_nothing_lost, expect_recovery, rate, rate_before, states
from tests.faults.load import triggering
from tests.support.daemon import end, environment, free_port, running_daemon, spawn
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.forked import Process
from tests.support.sizes import size
from tests.support.waiting import eventually

JOB: dict[str, Any] = {"max_attempts": 5, "retry_strategy": "fixed", "breaker_threshold": 0}
ROUNDS = size(ci=1, soak=10)
# How long Valkey is away, at least.
AWAY_SECS = size(ci=0.5, soak=30.0)
# How a process sees the time of day: an hour off, whoever asks. The daemon must ask the database.
SHIFTED = "import time; n, t = time.time_ns, time.time; time.time_ns = lambda: n() + {0} * 10**9; time.time = lambda: t() + {0}; from strait_daemon.__main__ import main; main()"


@pytest.mark.slow
@pytest.mark.soak
def test_a_rolling_restart(database: str, endpoint: Endpoint, figures: Figures):
    """Three workers replaced one after the other under load (ten times in a soak): no attempt is lost or made twice."""
    with ExitStack() as workers, running_daemon(database, mode="api") as api:
        api.make_job(endpoint.url("/slow/0.05"), **JOB)
        live = [workers.enter_context(running_daemon(database, mode="worker")) for _ in range(3)]
        with triggering(api.port) as load:
            load.wait_for(50)
            before = rate_before(endpoint)
            for _ in range(ROUNDS):
                for at, old in enumerate(live):
                    live[at] = workers.enter_context(running_daemon(database, mode="worker"))
                    assert old.stop() == 0
                    load.wait_for(10)
            figures.note("back after a rolling restart", expect_recovery(endpoint, before))
        expect_nothing_lost(database, load, endpoint)
        # What a drain gave back before its call has another number, and is still called once.
        assert set(Counter(run for run, _ in endpoint.pairs.elements()).values()) == {1}


@pytest.mark.soak
@pytest.mark.parametrize("shift", [3600, -3600])
def test_a_clock_that_is_wrong_by_an_hour(database: str, endpoint: Endpoint, shift: int, figures: Figures):
    """One of two daemons believes it is an hour earlier or later: nobody is reaped, nothing is early, slow or expired."""
    wrong = [sys.executable, "-c", SHIFTED.format(shift), "serve"]
    with ExitStack() as stack:
        right = stack.enter_context(running_daemon(database))
        right.make_job(endpoint.url("/slow/0.3"), run_ttl_secs=600, **JOB)
        with triggering(right.port) as load:
            load.wait_for(40)
            before = rate_before(endpoint)
            other = stack.enter_context(running_daemon(database, command=wrong))
            figures.note(f"beside a clock wrong by {shift} s", expect_recovery(endpoint, before))
        expect_nothing_lost(database, load, endpoint)
        with triggering(other.port) as load:
            load.wait_for(40)
        expect_nothing_lost(database, load, endpoint)
        assert states(database).keys() == {"completed"}
        assert {attempt for _, attempt in endpoint.pairs} == {1}
        assert "worker_reaped" not in right.said + other.said
        assert (right.stop(), other.stop()) == (0, 0)


@contextmanager
def valkey(folder: Path, port: int) -> Iterator[Process]:
    """A Valkey that comes back at the same address, and answers by now."""
    words = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = spawn([str(find_valkey()), *words], environment(folder), folder / "valkey.log")
    try:
        eventually(lambda: answers(port), 10)
        yield process
    finally:
        end(process)


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.slow
@pytest.mark.soak
def test_valkey_goes_and_comes_back(database: str, endpoint: Endpoint, figures: Figures):
    """Live events only travel slower without it: everything triggered at one daemon is done, by the other too."""
    with tempfile.TemporaryDirectory(prefix="strait-test-") as folder, ExitStack() as stack:
        port = free_port()
        settings = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        there = stack.enter_context(ExitStack())
        there.enter_context(valkey(Path(folder), port))
        api = stack.enter_context(running_daemon(database, mode="api", settings=settings))
        worker = stack.enter_context(running_daemon(database, mode="worker", settings=settings))
        api.make_job(endpoint.url("/slow/0.02"), **JOB)
        with triggering(api.port) as load:
            load.wait_for(50)
            before = rate_before(endpoint)
            there.close()
            # Without it a worker looks once a second.
            gone = monotonic()
            eventually(lambda: monotonic() - gone >= AWAY_SECS, 60)
            load.wait_for(50, 60)
            figures.note("rate without Valkey", f"{rate(endpoint):.0f}/s, {before:.0f}/s with it")
            with valkey(Path(folder), port):
                figures.note(f"back after {AWAY_SECS:g} s without Valkey", expect_recovery(endpoint, before))
        expect_nothing_lost(database, load, endpoint)
        assert (api.stop(), worker.stop()) == (0, 0)
