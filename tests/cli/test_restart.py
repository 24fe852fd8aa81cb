"""A watch outlives the daemon it watches through."""

from __future__ import annotations

import json
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strait_daemon.embedded import PostgresServer
from tests.cli.runner import Shell
from tests.support.daemon import SECRET, free_port, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.postgres import create_database, drop_database, unique_name


@pytest.fixture
def place(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[tuple[str, int, Shell]]:
    """A database, the port of the daemon that comes and goes on it, and a shell that knows this one."""
    name, port = unique_name(), free_port()
    shell = Shell(tmp_path, {"STRAIT_SERVER": f"http://127.0.0.1:{port}", "INTERNAL_SECRET": SECRET})
    yield create_database(postgres_server, name), port, shell
    drop_database(postgres_server, name)


def test_a_watch_survives_a_killed_daemon(place: tuple[str, int, Shell], endpoint: Endpoint):
    """Killed in mid-attempt, started again: the watch goes on, shows no state twice, and ends with the run."""
    url, port, shell = place
    with running_daemon(url, port=port) as daemon:
        daemon.make_job(endpoint.url("/hold"))
        run = daemon.trigger()["id"]
        watching = shell.start("runs", "watch", run, "-o", "jsonl")
        following = shell.start("changes", "--follow", "--kind", "run", "--limit", "7", "-o", "jsonl")
        assert watching.stdout is not None
        assert watching.stderr is not None
        daemon.wait_for(run, "executing")
        lines = [json.loads(watching.stdout.readline())]
        daemon.kill()
    # It has noticed, and says so; another one begins while nobody is there at all.
    assert "trying again" in watching.stderr.readline()
    late = shell.start("runs", "watch", run, "-o", "json")
    assert late.stderr is not None
    assert "trying again" in late.stderr.readline()
    # So does one who waits, for a run that is named by its beginning.
    waiting = shell.start("wait", run[:-1], "-o", "json")
    assert waiting.stderr is not None
    assert "trying again" in waiting.stderr.readline()
    endpoint.release()
    with running_daemon(url, port=port):
        out, _ = watching.communicate(timeout=40)
        ended, _ = late.communicate(timeout=40)
        waited, _ = waiting.communicate(timeout=40)
        feed, _ = following.communicate(timeout=40)
    lines += [json.loads(line) for line in out.splitlines()]
    assert (watching.returncode, late.returncode, waiting.returncode) == (0, 0, 0)
    assert [one["id"] for one in json.loads(waited)] == [run]
    seqs = [one["run"]["seq"] for one in lines if one["event"] == "snapshot"]
    seqs += [one["seq"] for one in lines if one["event"] == "status"]
    assert seqs == sorted(set(seqs))
    assert lines[-1]["run"]["status"] == json.loads(ended)["status"] == "completed"
    assert lines[-1]["run"]["attempt"] == 2
    assert [json.loads(line)["seq"] for line in feed.splitlines()] == list(range(1, 8))
    assert json.loads(feed.splitlines()[-1])["status"] == "completed"


def test_views_survive_a_killed_daemon(place: tuple[str, int, Shell], endpoint: Endpoint):
    """A watch and a dashboard that fill their terminals say that it is away, and go on by themselves once it is back."""
    url, port, shell = place
    with running_daemon(url, port=port) as daemon:
        daemon.make_job(endpoint.url("/hold"))
        run = daemon.trigger()["id"]
        daemon.wait_for(run, "executing")
        watching = shell.terminal("runs", "watch", run).until("executing")
        board = shell.terminal("dashboard").until("● live").until("Newest runs").until("executing")
        daemon.kill()
    watching.until("trying again")
    board.until("cannot reach")
    endpoint.release()
    with running_daemon(url, port=port):
        watching.until("any key keeps it open").press("q")
        assert watching.wait() == 0
        assert "cannot reach" not in board.until("completed").until("● live").shown
        board.press("q")
        assert board.wait() == 0


def test_listening_survives_a_killed_daemon(place: tuple[str, int, Shell], endpoint: Endpoint):
    """What happens to a run while the daemon is away and when it is back is told, each move once."""
    url, port, shell = place
    with running_daemon(url, port=port) as daemon:
        daemon.make_job(endpoint.url("/hold"), "held")
        daemon.make_job(endpoint.url("/ok"))
        run = daemon.trigger("held")["id"]
        daemon.wait_for(run, "executing")
        listening = shell.start("listen", "-o", "jsonl")
        assert listening.stdout is not None
        while not select.select([listening.stdout], [], [], 0.5)[0]:
            daemon.wait_for(daemon.trigger()["id"])
        daemon.kill()
    endpoint.release()
    moves: list[dict[str, Any]] = []
    with running_daemon(url, port=port):
        while not any((move["run_id"], move["status"]) == (run, "completed") for move in moves):
            moves.append(json.loads(listening.stdout.readline()))
        listening.send_signal(signal.SIGINT)
        listening.communicate(timeout=20)
    told = [(move["run_id"], move["seq"]) for move in moves]
    assert len(set(told)) == len(told)
    seqs = [seq for one, seq in told if one == run]
    # What happened in the second before it listened may not have been published by then.
    assert seqs[0] <= 4
    assert seqs == list(range(seqs[0], 8))
