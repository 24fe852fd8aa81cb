"""Behind a proxy that lets no stream through, whoever follows something asks instead, and sees the same."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from strait_cli.client import Client, Connection
from strait_cli.paths import path_of
from strait_cli.polling import Moves
from strait_cli.session import Session
from strait_cli.stream import Message, follow
from strait_cli.watch import Seen, changes
from strait_core.wire.changes import spell_cursor
from tests.cli.runner import Shell, ended
from tests.cli.scripted import answer, scripted
from tests.cli.test_workflow_runs import create
from tests.support.daemon import SECRET, Daemon
from tests.support.endpoint import Call, Endpoint
from tests.support.plain import NO_TLS
from tests.support.waiting import eventually


@dataclass
class Proxy:
    """What stands in front of the daemon: its address, the streams it has refused, and whether it still does."""

    url: str = ""
    refused: list[str] = field(default_factory=list)
    lets_through: threading.Event = field(default_factory=threading.Event)


@contextmanager
def in_front_of(daemon: Daemon) -> Iterator[Proxy]:
    """A proxy that answers every stream with 503 and passes everything else on."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        """Passes on whole answers, streams included: those it keeps until they end."""

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """Refuse it or pass it on."""
            if self.path.partition("?")[0].endswith("/stream") and not proxy.lets_through.is_set():
                proxy.refused.append(self.path)
                self._say(503, b"", "text/plain")
                return
            names = ("Authorization", "Last-Event-ID", "X-Project-Id")
            headers = {name: self.headers[name] for name in names if name in self.headers}
            told = httpx.get(daemon.url + self.path, headers=headers, trust_env=False, verify=NO_TLS, timeout=30)
            self._say(told.status_code, told.content, told.headers["content-type"])

        def _say(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def proxy(cli_daemon: Daemon) -> Iterator[Proxy]:
    """One in front of the session's daemon."""
    with in_front_of(cli_daemon) as serving:
        yield serving


def calls(endpoint: Endpoint, run: str, attempt: int) -> list[Call]:
    """Those that have arrived for this attempt."""
    return [one for one in endpoint.calls if (one.run, one.attempt) == (run, attempt)]


def lives(shell: Shell, endpoint: Endpoint, daemon: Daemon) -> str:
    """A run with two attempts, each of which has logged a line, and a replay between them."""
    words = ("--completion", "callback", "--max-attempts", "1", "--endpoint", endpoint.url("/empty/lives"))
    shell.ok("jobs", "create", "--name", "L", "--slug", "lives", *words)
    run: str = shell.ok("trigger", "lives", "-o", "json").json["id"]
    for attempt, (verb, body) in enumerate([("fail", {"error": "no"}), ("complete", {"result": 1})], 1):
        (call,) = eventually(partial(calls, endpoint, run, attempt))
        headers = {"Authorization": f"Bearer {call.headers['X-Run-Token']}"}
        daemon.call("POST", f"/sdk/v1/runs/{run}/log", {"message": f"line {attempt}"}, headers=headers)
        daemon.call("POST", f"/sdk/v1/runs/{run}/{verb}", body, headers=headers)
        if attempt == 1:
            daemon.wait_for(run)
            shell.ok("runs", "replay", run)
    return run


def test_a_run_without_a_stream(shell: Shell, cli_endpoint: Endpoint, cli_daemon: Daemon, proxy: Proxy):
    """States, attempts and lines as the stream tells them; the end is seen, by those who wait as well."""
    run = lives(shell, cli_endpoint, cli_daemon)
    away = {"STRAIT_SERVER": proxy.url}
    for words in (("runs", "watch", run), ("runs", "logs", "-f", run)):
        asked = shell.run(*words, env=away)
        assert asked.code == 0
        # A stream tells every line ahead of the first end.
        assert sorted(asked.out.splitlines()) == sorted(shell.ok(*words).out.splitlines())
        assert "trying again" in asked.err
    assert shell.ok("runs", "wait", run, "-o", "json", env=away).json[0]["status"] == "completed"
    assert len(proxy.refused) >= 3


def test_a_stream_that_comes_back_tells_nothing_twice(shell: Shell, job: str, proxy: Proxy):
    """It goes on where the last stream was; what was asked for meanwhile is known."""
    run = ended(shell, job)
    session = Session({"server": proxy.url, "api_key": SECRET, "project": None, "request_timeout": 5.0}, lenient=True)
    seen = Seen(run["id"], seq=1)
    following = changes(session, seen, until=frozenset(), deadline=None)
    assert [one["event"] for one in following] == ["status", "status", "attempt", "status"]
    assert len(proxy.refused) == 1
    proxy.lets_through.set()
    assert list(replayed(session, seen)) == []


def replayed(session: Session, seen: Seen) -> Iterator[dict[str, object]]:
    """What a stream from the run's first state on tells to whoever has seen all of it."""
    for message in follow(session.api, path_of("runs", seen.run_id, "stream"), since="1"):
        change = seen.news(message)
        if change is not None:
            yield change
        if '"completed"' in message.data and message.event == "status":
            return


def test_a_workflow_run_without_a_stream(shell: Shell, cli_endpoint: Endpoint, proxy: Proxy):
    """Its steps are told, and its end."""
    shell.ok("jobs", "create", "--name", "E", "--slug", "echo", "--endpoint", cli_endpoint.url("/echo"))
    create(
        shell,
        "pipe",
        {"step_ref": "extract", "job_id": "echo"},
        {"step_ref": "ask", "step_type": "approval", "approvers": ["ann"], "depends_on": ["extract"]},
    )
    run = shell.ok("workflows", "trigger", "pipe", "-o", "name").out.strip()
    watching = shell.start("workflow-runs", "watch", run, env={"STRAIT_SERVER": proxy.url})
    assert watching.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].rstrip().endswith("waiting\task"):
        lines.append(watching.stdout.readline())
        assert lines[-1], watching.communicate()
    shell.ok("workflow-runs", "steps", "approve", run, "ask", "--as", "ann")
    out, _ = watching.communicate(timeout=30)
    assert watching.returncode == 0
    lines += out.splitlines()
    told = [tuple(line.rstrip().split("\t")[1:]) for line in lines]
    assert told.count(("completed", "extract")) == 1, told


def test_listening_without_a_stream(shell: Shell, job: str, failing_job: str, proxy: Proxy):
    """Every move behind the first look, narrowed by job and state as the stream narrows; none is told twice."""
    away = {"STRAIT_SERVER": proxy.url}
    ended(shell, job)
    # What has just happened may not have been published yet.
    eventually(lambda: '"completed"' in shell.ok("changes", "-o", "jsonl").out)
    listening = shell.start("listen", "--job", job, "--status", "executing,completed", "-o", "jsonl", env=away)
    every = shell.start("listen", "-o", "jsonl", "--limit", "12", env=away)
    # Whoever is refused a second time has looked once.
    eventually(lambda: len(counted := Counter(proxy.refused)) == 2 and min(counted.values()) >= 2)
    runs = [ended(shell, name)["id"] for name in (job, failing_job, job)]
    told = [json.loads(line) for line in every.communicate(timeout=40)[0].splitlines()]
    assert every.returncode == 0
    moves = [(move["run_id"], move["status"], move["seq"], move["job_slug"]) for move in told]
    states = {job: "completed", failing_job: "dead_letter"}
    wanted = [
        (run, state, seq, name)
        for run, name in zip(runs, (job, failing_job, job), strict=True)
        for seq, state in enumerate(("queued", "dequeued", "executing", states[name]), 1)
    ]
    assert sorted(moves) == sorted(wanted)
    assert listening.stdout is not None
    narrowed = [json.loads(listening.stdout.readline()) for _ in range(4)]
    assert [(move["run_id"], move["status"]) for move in narrowed] == [
        (run, state) for run in (runs[0], runs[2]) for state in ("executing", "completed")
    ]
    listening.send_signal(signal.SIGINT)
    listening.communicate(timeout=20)


@pytest.fixture
def client(cli_daemon: Daemon, shell: Shell) -> Iterator[Client]:
    """A client of the shell's project."""
    project = shell.settings["STRAIT_PROJECT"]
    given = {"server": cli_daemon.url, "api_key": SECRET, "project": project, "request_timeout": 5.0}
    session = Session(given, lenient=True)
    yield session.api
    session.close()


def test_listening_goes_on_with_the_stream(shell: Shell, job: str, client: Client):
    """What was asked for has ids from which the stream goes on, and what the stream told has one to ask from."""
    ended(shell, job)
    eventually(lambda: '"completed"' in shell.ok("changes", "-o", "jsonl").out)
    moves = Moves(client, None, None, None)
    *_, place = moves.behind(None)
    first, second = ended(shell, job)["id"], ended(shell, job)["id"]
    asked = eventually(lambda: four(said(moves.behind(place.id), first)))
    behind = [message for message in moves.behind(asked[-1].id) if message.data]
    assert said(behind, first) == []
    stream = follow(client, path_of("stream"), since=asked[-1].id, deadline=time.monotonic() + 20)
    streamed = [next(one for one in stream if second in one.data) for _ in range(4)]
    assert [states_of(one) for one in streamed] == ["queued", "dequeued", "executing", "completed"]
    third = ended(shell, job)["id"]
    assert eventually(lambda: four(said(moves.behind(streamed[-1].id), third)))


def test_what_is_kept_no_more_is_passed_over():
    """As the stream does: from the oldest that there is; a workflow run's state once, whatever moves with its steps."""
    gone = {"type": "/docs#gone", "title": "Gone", "status": 410, "code": "gone", "detail": "not kept any more"}
    whose = {
        "kind": "workflow_run",
        "id": "wfr_1",
        "workflow_id": "wf_1",
        "project_id": "p",
        "at": "2026-01-01T00:00:00Z",
    }
    states = ["failed", "running", "running", "failed"]
    rows = [
        {**whose, "cursor": spell_cursor(7, seq), "seq": seq, "status": state} for seq, state in enumerate(states, 1)
    ]
    page = {"data": rows, "next_cursor": rows[-1]["cursor"], "has_more": False}
    slug = answer("200 OK", json.dumps({"slug": "w"}), content_type="application/json")
    refused = answer("410 Gone", json.dumps(gone), content_type="application/problem+json")
    found = answer("200 OK", json.dumps(page), content_type="application/json")
    for wanted, seqs in ((None, [1, 2, 4]), ("failed", [1, 4])):
        with scripted([refused, found, slug]) as server:
            client = Client(Connection(server.url, SECRET, "p", None, 5))
            told = [one for one in Moves(client, None, None, wanted).behind("1.2.3") if one.data]
            client.http.close()
        assert [json.loads(one.data)["seq"] for one in told] == seqs
        assert "start=oldest" in server.seen[1]


def said(messages: Iterable[Message], run_id: str) -> list[Message]:
    """Those that tell of a run."""
    return [message for message in messages if run_id in message.data]


def four(messages: list[Message]) -> list[Message]:
    """All moves of a run that completes at once; none before they are there."""
    return messages if len(messages) == 4 else []


def states_of(message: Message) -> str:
    """The state that it tells of."""
    return str(json.loads(message.data)["status"])
