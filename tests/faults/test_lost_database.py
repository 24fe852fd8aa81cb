"""PostgreSQL fails under load: the daemon stays, recovers, and what it accepted is all there."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strait_daemon.embedded import PostgresServer, find_postgres
from tests.faults.checks import (
    expect_nothing_lost,
    expect_promises_kept,
    expect_recovery,
    rate_before,
    states,
    wait_for_all,
)
from tests.faults.load import triggering
from tests.support.daemon import running_daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.postgres import TEST_SETTINGS, binaries_source
from tests.support.sizes import size
from tests.support.waiting import eventually

# How often everything is terminated, and how often the server goes: every other time by kill -9, else in good order.
TERMINATIONS, RESTARTS = size(ci=(5, 2), soak=(20, 20))
JOB: dict[str, Any] = {"max_attempts": 10, "retry_strategy": "fixed"}


@pytest.mark.soak
def test_every_backend_terminated(database: str, endpoint: Endpoint, figures: Figures):
    """All connections cut, five times (20 in a soak), in the middle of everything: the same process goes on."""
    with running_daemon(database) as daemon:
        daemon.make_job(endpoint.url("/slow/0.05"), **JOB)
        with triggering(daemon.port) as load:
            load.wait_for(30)
            before = rate_before(endpoint)
            for _ in range(TERMINATIONS):
                load.wait_for(30)
                assert terminated(database) > 0
            figures.note("back after all backends were terminated", expect_recovery(endpoint, before))
        expect_nothing_lost(database, load, endpoint)
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.said


def terminated(database: str) -> int:
    """Terminate every backend that serves the daemon; how many there were."""
    with psycopg.connect(database) as conn:
        found = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert found is not None
    return int(found[0])


@pytest.fixture
def own_server() -> Iterator[list[PostgresServer]]:
    """A server for one test, which may replace it: the last in the list is the one that runs."""
    directory = Path(tempfile.mkdtemp(prefix="strait-test-"))
    servers = [started(directory)]
    try:
        yield servers
    finally:
        servers[-1].stop()
        shutil.rmtree(directory, ignore_errors=True)


def started(directory: Path, port: int | None = None) -> PostgresServer:
    binaries = find_postgres(binaries_source())
    if port is None:
        return PostgresServer.start(directory, settings=TEST_SETTINGS, binaries=binaries)
    return PostgresServer.start(directory, settings=TEST_SETTINGS, binaries=binaries, ports=lambda: port)


@pytest.mark.soak
def test_postgres_killed_and_started_again(own_server: list[PostgresServer], endpoint: Endpoint, figures: Figures):
    """kill -9 of the server's main process under load, then an orderly stop: one of each in CI, ten in a soak."""
    database = own_server[0].dsn
    with running_daemon(database) as daemon:
        daemon.make_job(endpoint.url("/slow/0.05"), **JOB)
        with triggering(daemon.port) as load:
            for number in range(RESTARTS):
                load.wait_for(50)
                before = rate_before(endpoint)
                fallen = own_server[-1]
                word = "a stop" if number % 2 else "kill -9"
                if word == "kill -9":
                    os.kill(fallen.pid, signal.SIGKILL)
                    eventually(lambda: not own_server[-1].running, 10)
                fallen.stop()
                own_server.append(started(fallen.data_dir, fallen.port))
                figures.note(f"back after {word} of PostgreSQL", expect_recovery(endpoint, before))
        expect_nothing_lost(database, load, endpoint)
        assert daemon.stop() == 0


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stop every process of the server where it stands; connections stay open and answer nothing."""
    pids = [server.pid, *children(server.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, _, rest = entry.read_text().partition(" ")
            if int(rest.rpartition(") ")[2].split()[1]) == parent:
                found.append(int(pid))
    return found


def test_an_outage_longer_than_the_stale_threshold(own_server: list[PostgresServer], endpoint: Endpoint):
    """The server answers nobody for longer than a heartbeat may be missing: no live attempt is done twice at once."""
    database = own_server[0].dsn
    with running_daemon(database) as daemon:
        daemon.make_job(endpoint.url("/hold"), **JOB)
        runs = daemon.trigger_many(20)
        endpoint.wait_for_calls(20)
        with frozen(own_server[0]):
            eventually(lambda: len(endpoint.closed_early) == 20, 30, lambda: f"{len(endpoint.closed_early)} closed")
        endpoint.release()
        wait_for_all(database, len(runs))
        assert states(database) == {"completed": 20}
        assert endpoint.most_open <= 20
        expect_promises_kept(database, endpoint)
        assert daemon.stop() == 0
