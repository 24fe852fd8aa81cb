"""When a worker must let go of a request: cancelled, out of time, cut off from the database, presumed dead."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

import pytest

from strait_core.run import Status
from strait_daemon import wiring
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually, proxied, running, settings_for
from tests.support.scripted import answer
from tests.support.sizes import size

# One and a half, and the half between two looks at the clock; in CI others share the machine.
SILENT_SECS = size(ci=10.0, soak=2.5)


async def test_cancelling_closes_the_connection_at_once(migrated: str, endpoint: Endpoint) -> None:
    """The signal closes the request, long before a heartbeat would; the run stays canceled and is called no more."""
    async with running(migrated, HEARTBEAT_INTERVAL="100", STALE_THRESHOLD="300") as rig:
        job = await rig.job(endpoint.url("/hang"))
        (run_id,) = await rig.add(job)
        await eventually(lambda: endpoint.open == 1)
        assert await rig.cancel(run_id)
        rig.parts.bus.runs_taken([run_id])
        await eventually(lambda: endpoint.closed_early)
        assert (await rig.run(run_id))["status"] == Status.CANCELED
        assert [a["outcome"] for a in await rig.attempts(run_id)] == ["canceled"]
        await rig.stop()
        await rig.check()


async def test_a_lost_cancel_signal_costs_one_heartbeat(rig: Rig, endpoint: Endpoint) -> None:
    """The heartbeat carries cancellations too."""
    job = await rig.job(endpoint.url("/hang"))
    run_ids = await rig.add(job, 5)
    await eventually(lambda: endpoint.open == 5)
    assert await rig.cancel(run_ids[2])
    (closed,) = await eventually(lambda: endpoint.closed_early)
    assert closed.run.startswith("run_")
    assert endpoint.open == 4


@pytest.mark.parametrize("path", ["/hang", "/drip/30"])
async def test_the_time_limit_is_exact(rig: Rig, endpoint: Endpoint, path: str) -> None:
    """Silent or dripping, an endpoint has its timeout and not much more; then its connection is closed."""
    job = await rig.job(endpoint.url(path), timeout_secs=1, max_attempts=1)
    (run_id,) = await rig.add(job)
    run = await rig.wait(run_id)
    assert (run["status"], run["error_class"]) == (Status.TIMED_OUT, "timeout")
    (attempt,) = await rig.attempts(run_id)
    assert attempt["outcome"] == "timed_out"
    # How late exactly is for tests/faults/test_timeouts.py to say: here others share the machine.
    assert 1_000 <= attempt["total_ms"] < 5_000
    await eventually(lambda: endpoint.open == 0)


async def test_the_time_limit_holds_while_sending(rig: Rig) -> None:
    """An endpoint that does not read a large payload is given up at the limit, and its connection really closed."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        job = await rig.job(url, timeout_secs=1, max_attempts=1)
        (run_id,) = await rig.add(job, payload='"' + "x" * 5_000_000 + '"')
        connection, _ = await loop.sock_accept(server)
        with connection:
            run = await rig.wait(run_id, seconds=5)
            assert run["status"] == Status.TIMED_OUT
            received = 0
            async with asyncio.timeout(5):
                while data := await loop.sock_recv(connection, 65_536):
                    received += len(data)
            assert received < 5_000_000


async def test_an_answer_before_the_payload_was_read(rig: Rig) -> None:
    """An endpoint may answer without reading the whole payload; that is its answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer("413 Too Large", Connection="close"))
        with suppress(OSError):
            while await reader.read(65_536):
                pass
        writer.close()
        closed.set()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        job = await rig.job(url, max_attempts=1, timeout_secs=5)
        (run_id,) = await rig.add(job, payload='"' + "x" * 3_000_000 + '"')
        run = await rig.wait(run_id)
        assert (run["status"], run["error"]) == (Status.DEAD_LETTER, "HTTP 413: no body")
        await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["refuse", "freeze"])
@pytest.mark.parametrize(("attempts", "status"), [(1, Status.CRASHED), (2, Status.COMPLETED)])
async def test_a_worker_cut_off_closes_its_requests(
    migrated: str, endpoint: Endpoint, fault: str, attempts: int, status: Status
) -> None:
    """No heartbeat for STALE_THRESHOLD - HEARTBEAT_INTERVAL: requests are closed; later the run is retried or crashed."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        job = await rig.job(endpoint.url("/hold"), max_attempts=attempts, retry_strategy="fixed")
        run_ids = await rig.add(job, 3)
        await eventually(lambda: endpoint.open == 3)
        began = time.monotonic()
        getattr(proxy, fault)()
        await eventually(lambda: len(endpoint.closed_early) == 3)
        assert time.monotonic() - began < SILENT_SECS
        assert {(await rig.run(run_id))["status"] for run_id in run_ids} == {Status.EXECUTING}
        endpoint.release()
        proxy.refuse(False)
        proxy.cut()
        proxy.thaw()
        for run_id in run_ids:
            run = await rig.wait(run_id)
            assert (run["status"], run["attempt"]) == (status, attempts)
            assert (await rig.attempts(run_id))[0]["error_class"] == "lost"
        assert endpoint.most_open == 3
        await rig.stop()
        await rig.check()


async def test_what_was_not_called_is_not_spent(migrated: str, endpoint: Endpoint) -> None:
    """Runs that were opened but had no slot when the worker was cut off keep their only attempt."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated, WORKER_POOL_SIZE=2) as rig:
        job = await rig.job(endpoint.url("/ok"), max_attempts=1)
        await rig.add(job, 500)
        await eventually(lambda: len(endpoint.calls) > 100)
        proxy.freeze()
        await asyncio.sleep(2.5)  # longer than a worker may be silent: this is the fault itself
        proxy.cut()
        proxy.thaw()
        await rig.wait_all()
        statuses = {row["status"] for row in await rig.rows("SELECT status FROM strait.run_history")}
        assert statuses == {"completed"}
        assert set(endpoint.pairs.values()) == {1}
        await rig.stop()
        await rig.check()


async def test_a_heartbeat_counts_from_when_it_was_alive(migrated: str) -> None:
    """One that took long to commit is as old as the time it carries, by which a reaper judges it."""
    async with running(migrated, MODE="api") as idle:
        parts = await wiring.build(settings_for(migrated, HEARTBEAT_INTERVAL="0.1", STALE_THRESHOLD="0.5"))
        worker = parts.worker
        assert worker is not None
        await worker.beat()
        assert worker.freed([])
        async with idle.conn.transaction():
            await idle.rows("SELECT 1 FROM strait.workers FOR UPDATE")
            late = asyncio.create_task(worker.beat())
            await asyncio.wait({late}, timeout=0.6)  # longer than a worker may be silent: this is the fault itself
        await late
        assert not worker.freed([])
        await worker.beat()
        assert worker.freed([])
        await wiring.stop(parts, at_once=asyncio.Event())
