"""`strait serve` in its modes, as real processes on one database; and how it stops under load."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import conninfo

from tests.e2e.stage import Stage, argv_texts
from tests.support.daemon import SECRET, SIGNING_KEY, Daemon, free_port, running_daemon, strait_command
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually


@pytest.fixture
def apart(database: str) -> Iterator[tuple[Daemon, Daemon]]:
    """The API in one process, the worker in another."""
    with (
        running_daemon(database, mode="api", command=[*strait_command(), "serve"]) as api,
        running_daemon(database, mode="worker", command=[*strait_command(), "serve"]) as worker,
    ):
        yield api, worker


def test_api_and_worker_apart(apart, endpoint: Endpoint, stage: Stage):
    """A run triggered at the API's process is executed by the worker's, and a watcher at the API sees it happen."""
    api, worker = apart
    eventually(lambda: len(api.call("GET", "/v1/workers")["data"]) == 1)
    (row,) = api.call("GET", "/v1/workers")["data"]
    assert (row["pid"], row["mode"], row["alive"]) == (worker.pid, "worker", True)
    api.make_job(endpoint.url("/hold"))
    run = api.trigger(payload={"n": 1})
    watching, output = stage.start("runs", "watch", run["id"], "-o", "jsonl", settings=as_user(api))
    endpoint.wait_for_calls(1)
    eventually(lambda: "executing" in output.read_text(), 20, output.read_text)
    endpoint.release()
    assert watching.wait(20) == 0
    events = [json.loads(line) for line in output.read_text().splitlines()]
    assert events[-1]["run"]["status"] == "completed"
    (attempt,) = api.call("GET", f"/v1/runs/{run['id']}/attempts")["data"]
    assert attempt["worker_id"] == row["id"]


def test_a_head_without_end(database: str):
    """A request line and headers that go on and on are cut off with 431, from anybody; long ones within bounds pass."""
    with running_daemon(database, mode="api", command=[*strait_command(), "serve"]) as api:
        port = urlsplit(api.url).port
        assert answer_to(port, [b"X-A: " + b"a" * 60_000]).startswith(b"HTTP/1.1 200 ")
        for lines in ([b"X-A: " + b"a" * 4_000_000], [b"X-%d: a" % at for at in range(400_000)]):
            answer = answer_to(port, lines)
            assert answer.startswith((b"HTTP/1.1 431 ", b"reset"))
            if answer != b"reset":
                head, _, body = answer.partition(b"\r\n\r\n")
                problem = json.loads(body)
                assert (problem["status"], problem["code"]) == (431, "head_too_large")
                assert f"x-request-id: {problem['request_id']}".encode() in head
        assert api.call("GET", "/health")["status"] == "ok"


def answer_to(port: int | None, lines: list[bytes]) -> bytes:
    """What comes back for a GET of /health with these header lines, sent piece by piece until the answer comes."""
    head = b"\r\n".join([b"GET /health HTTP/1.1", b"Host: x", b"Connection: close", *lines, b"\r\n"])
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        try:
            for at in range(0, len(head), 16_384):
                client.sendall(head[at : at + 16_384])
            return client.recv(65_536)
        except ConnectionError:
            return b"reset"


def as_user(daemon: Daemon) -> dict[str, str]:
    """What a person at this daemon has exported."""
    return {"STRAIT_SERVER": daemon.url, "INTERNAL_SECRET": SECRET}


def test_a_worker_serves_health_and_metrics_only(apart):
    """Worker mode answers probes and Prometheus, and nothing of the API."""
    _, worker = apart
    assert worker.call("GET", "/health")["status"] == "ok"
    assert worker.call("GET", "/health/ready")["components"]["database"]["ok"] is True
    assert "strait_worker_slots" in worker.client.get("/metrics").text
    assert worker.client.get("/v1/jobs").status_code == 404


def test_mode_as_the_first_word(database: str, stage: Stage):
    """`strait --mode all`, as the quickstart has it; flags and secrets: nothing secret is said or shown by ps."""
    port = free_port()
    password = str(conninfo.conninfo_to_dict(database)["password"])
    with running_daemon(database, port=port, command=[*strait_command(), "--mode", "all"]) as daemon:
        shown = argv_texts([daemon.pid])
        assert "--mode all" in shown
        assert daemon.stop() == 0
        for secret in (password, SECRET, SIGNING_KEY):
            assert secret not in daemon.said
            assert secret not in shown
        assert "****" in daemon.said


def test_a_drain_under_load(database: str, endpoint: Endpoint):
    """SIGTERM: what is in flight is finished, what waits keeps its attempts, exit 0, and this worker is off the list."""
    with running_daemon(database, settings={"WORKER_POOL_SIZE": "20"}) as daemon:
        daemon.make_job(endpoint.url("/slow/0.4"))
        ids = daemon.trigger_many(300)
        endpoint.wait_for_calls(40)
        assert daemon.stop() == 0
    began = {run for run, _ in endpoint.pairs}
    assert set(endpoint.pairs.values()) == {1}
    assert endpoint.closed_early == []
    assert states(database) == {"completed": len(began), "queued": len(ids) - len(began)}
    assert rows(database, "SELECT count(*) FROM strait.runs WHERE attempt <> 0") == [(0,)]
    assert rows(database, "SELECT count(*) FROM strait.workers") == [(0,)]


def test_a_released_attempt_is_not_spent(database: str, endpoint: Endpoint):
    """What does not finish within DRAIN_TIMEOUT is given back; a run with one attempt still completes afterwards."""
    with running_daemon(database, settings={"DRAIN_TIMEOUT": "0.3"}) as daemon:
        daemon.make_job(endpoint.url("/hold"), max_attempts=1)
        runs = daemon.trigger_many(20)
        endpoint.wait_for_calls(20)
        assert daemon.stop() == 0
        assert len(endpoint.closed_early) == 20
    assert states(database) == {"queued": 20}
    endpoint.release()
    with running_daemon(database) as daemon:
        ended = [daemon.wait_for(run) for run in runs]
    assert {(run["status"], run["attempt"]) for run in ended} == {("completed", 2)}
    assert set(endpoint.pairs.values()) == {1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_now(database: str, endpoint: Endpoint, number: signal.Signals):
    """The first signal would wait for half a minute; the second releases everything at once, exit 0."""
    with running_daemon(database, settings={"DRAIN_TIMEOUT": "60"}) as daemon:
        daemon.make_job(endpoint.url("/hold"))
        daemon.trigger_many(5)
        endpoint.wait_for_calls(5)
        daemon.process.send_signal(number)
        eventually(lambda: "stopping" in daemon.said, 10)
        assert daemon.stop(15, number) == 0
    assert states(database) == {"queued": 5}


def test_a_watcher_outlives_a_restart(database: str, endpoint: Endpoint, stage: Stage):
    """The daemon stops and starts again under `runs watch`: it reconnects, shows no state twice, and ends with the run."""
    port = free_port()
    with running_daemon(database, port=port, settings={"DRAIN_TIMEOUT": "0.1"}) as daemon:
        daemon.make_job(endpoint.url("/hold"))
        run = daemon.trigger()
        watching, output = stage.start("runs", "watch", run["id"], "-o", "jsonl", settings=as_user(daemon))
        eventually(lambda: "executing" in output.read_text(), 20, output.read_text)
        assert daemon.stop(4) == 0
        assert "Traceback" not in daemon.said
    endpoint.release()
    with running_daemon(database, port=port):
        assert watching.wait(30) == 0, output.read_text()
    events = [json.loads(line) for line in output.read_text().splitlines() if line.startswith("{")]
    seqs = [event["seq"] for event in events if event["event"] == "status"]
    assert seqs == sorted(set(seqs))
    assert events[-1]["run"]["status"] == "completed"


def states(database: str) -> dict[str, int]:
    """How many runs there are in each state, active and past."""
    found = rows(
        database,
        "SELECT status, count(*) FROM (SELECT status FROM strait.runs UNION ALL SELECT status FROM strait.run_history) r"
        " GROUP BY 1",
    )
    return dict(found)


def rows(database: str, statement: str) -> list[tuple]:
    with psycopg.connect(database) as conn:
        return conn.execute(statement.encode()).fetchall()
