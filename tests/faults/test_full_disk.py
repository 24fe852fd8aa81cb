"""A database that cannot grow any more: the daemon says so, keeps what it has accepted, and goes on when there is room."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from strait_daemon.embedded import PostgresServer
from tests.faults.checks import (
    expect_promises_kept,
    expect_recovery,
    rate_before,
    states,
    stored,
    uuid_of,
    wait_for_all,
)
from tests.faults.load import triggering
from tests.faults.test_lost_database import children, own_server
from tests.support.daemon import Daemon, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures

__all__ = ["own_server"]
# No file may grow beyond this; the log of writes comes in files of 16 MiB, which are there already.
FULL = 17 * 1024 * 1024
LARGE = 300_000


@contextmanager
def full(server: PostgresServer) -> Iterator[None]:
    """No file of the server may grow beyond FULL."""
    limit_to(server, FULL)
    try:
        yield
    finally:
        limit_to(server, resource.RLIM_INFINITY)


def limit_to(server: PostgresServer, size: int) -> None:
    for pid in [server.pid, *children(server.pid)]:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.soak
def test_no_room_for_a_while(own_server: list[PostgresServer], endpoint: Endpoint, figures: Figures):
    """Triggers are refused, none of them is lost; with room again everything goes on by itself, as quickly as before."""
    database = own_server[0].dsn
    with running_daemon(database) as daemon:
        daemon.make_job(endpoint.url("/ok"), max_attempts=10, retry_strategy="fixed", breaker_threshold=0)
        with triggering(daemon.port) as load:
            load.wait_for(50)
            before = rate_before(endpoint)
            accepted = fill(daemon, own_server[0])
            figures.note("back after a full disk", expect_recovery(endpoint, before))
        accepted += load.accepted
        wait_for_all(database, len(accepted))
        assert set(states(database)) == {"completed"}
        assert {uuid_of(run) for run in accepted} <= {run["id"] for run in stored(database)}
        expect_promises_kept(database, endpoint)
        assert daemon.stop() == 0


def fill(daemon: Daemon, server: PostgresServer) -> list[str]:
    """Trigger runs with large payloads until there is no room for one; those that were accepted, and one more."""
    accepted: list[str] = []
    with full(server):
        refused = None
        for number in range(200):
            try:
                answer = daemon.client.post("/v1/jobs/job/trigger", json={"payload": blob(number)})
            except httpx.TransportError:
                continue
            if answer.status_code == 201:
                accepted.append(answer.json()["id"])
                continue
            refused = answer
            break
        assert refused is not None
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) >= 1
        many = {"items": [{"payload": blob(number)} for number in range(9)]}
        answer = daemon.client.post("/v1/jobs/job/trigger/bulk", json=many)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
        assert "retry-after" in answer.headers
    return [*accepted, daemon.trigger()["id"]]


def blob(number: int) -> str:
    """Text that no compression makes much smaller."""
    return random.Random(number).randbytes(LARGE).hex()
