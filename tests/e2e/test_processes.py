"""`strait serve --processes N`: several processes, one banner, one exit code; a dead one is replaced and recovered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.checks import stored, wait_for_all
from tests.support.daemon import SECRET, SIGNING_KEY, Daemon, environment, free_port, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually

COMMAND = [sys.executable, "-m", "strait_daemon", "serve", "--processes", "2"]


def children(pid: int) -> dict[int, str]:
    """The processes that a supervisor keeps running, with their command lines."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return {int(row[0]): row[2] for row in rows if row[1] == str(pid)}


def workers(pid: int) -> list[int]:
    """Those of them that work."""
    return [child for child, args in children(pid).items() if "--mode worker" in args]


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def database(migrated: str) -> str:
    """The URL of a migrated database: several processes that migrate are tests/store's."""
    return migrated


def test_two_workers_beside_the_api(database: str, endpoint: Endpoint):
    """Both workers take part, the banner is shown once, SIGTERM ends all of them with exit code 0."""
    with running_daemon(database, command=COMMAND, settings={"WORKER_POOL_SIZE": "5"}) as daemon:
        eventually(lambda: len(daemon.call("GET", "/v1/workers")["data"]) == 2)
        daemon.make_job(endpoint.url("/slow/0.05"))
        daemon.trigger_many(100)
        wait_for_all(database, 100)
        calls = endpoint.calls
        assert len({call.attempt for call in calls}) == 1
        pids = set(children(daemon.pid))
        assert len(pids) == 3
        assert daemon.stop() == 0
        assert daemon.said.count("worker slots") == 1
        assert not any(map(alive, pids))
    assert {run["status"] for run in stored(database)} == {"completed"}


def figures(daemon: Daemon, name: str) -> dict[str, float]:
    """One scrape: the samples of that name, by process."""
    families = text_string_to_metric_families(daemon.client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {sample.labels["process"]: sample.value for sample in samples}


@pytest.mark.parametrize("mode", ["all", "worker"])
def test_a_scrape_shows_all_processes(database: str, endpoint: Endpoint, mode: str):
    """Whichever process is asked: each by its number, also after one was replaced; runs by state once."""
    numbers = {"all": {"0", "1", "2"}, "worker": {"0", "1"}}[mode]
    with running_daemon(database, command=[*COMMAND, "--mode", mode], settings={"WORKER_POOL_SIZE": "5"}) as daemon:
        eventually(lambda: figures(daemon, "strait_process_up") == dict.fromkeys(numbers, 1.0))
        slots = figures(daemon, "strait_worker_slots")
        assert sum(slots.values()) == 10
        assert set(slots) == numbers
        if mode == "all":
            daemon.make_job(endpoint.url("/ok"))
            daemon.trigger_many(20)
            wait_for_all(database, 20)
            assert sum(figures(daemon, "strait_attempts_total").values()) == 20
            eventually(lambda: 'strait_runs{status="completed"} 20.0' in daemon.client.get("/metrics").text)
            os.kill(workers(daemon.pid)[0], signal.SIGKILL)
            eventually(lambda: figures(daemon, "strait_process_up") == dict.fromkeys(numbers, 1.0))
        assert daemon.stop() == 0


def test_a_dead_worker_is_replaced_and_its_attempts_recovered(database: str, endpoint: Endpoint):
    """kill -9 of a worker: its replacement recovers what it held long before any heartbeat is stale."""
    patient = {"HEARTBEAT_INTERVAL": "10", "STALE_THRESHOLD": "600", "WORKER_POOL_SIZE": "10"}
    with running_daemon(database, command=COMMAND, settings=patient) as daemon:
        eventually(lambda: len(daemon.call("GET", "/v1/workers")["data"]) == 2)
        daemon.make_job(endpoint.url("/hold"))
        daemon.trigger_many(20)
        endpoint.wait_for_calls(20)
        victim = workers(daemon.pid)[0]
        os.kill(victim, signal.SIGKILL)
        endpoint.release()
        runs = wait_for_all(database, 20)
        assert {run["status"] for run in runs} == {"completed"}
        assert {run["attempt"] for run in runs} == {1, 2}
        assert endpoint.pairs.most_common(1)[0][1] == 1
        assert len(workers(daemon.pid)) == 2
        assert daemon.stop() == 0


def test_the_processes_do_not_outlive_their_supervisor(database: str):
    """kill -9 of the supervisor: the processes notice and drain."""
    with running_daemon(database, command=COMMAND) as daemon:
        orphans = children(daemon.pid)
        assert len(orphans) == 3
        daemon.kill()
        eventually(lambda: not any(map(alive, orphans)), 20)


@pytest.mark.parametrize("fault", ["port", "database"])
def test_a_start_that_fails_fails_once(database: str, tmp_path, fault: str):
    """What keeps one process from starting keeps all: one message, exit code 3, nothing left running."""
    port = free_port()
    with running_daemon(database, mode="api") as other:
        given = {
            "DATABASE_URL": database if fault == "port" else "postgresql://u:p@127.0.0.1:1/none",
            "INTERNAL_SECRET": SECRET,
            "JWT_SIGNING_KEY": SIGNING_KEY,
            "PORT": str(other.port if fault == "port" else port),
        }
        done = subprocess.run(
            COMMAND, env=environment(tmp_path, given), capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1
    assert ("is in use" if fault == "port" else "cannot reach PostgreSQL") in done.stderr
