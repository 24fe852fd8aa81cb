"""`strait dev` as a person uses it: start, use from the next shell, stop, start again, reset; and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator

import psycopg
import pytest

from tests.e2e.stage import Stage, answers, argv_texts, staged
from tests.support.daemon import Daemon, end, free_port
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Stage, Daemon]]:
    """One `dev` for the tests that only look."""
    with staged() as stage, stage.dev() as dev:
        yield stage, dev


def test_from_an_empty_home_to_a_completed_run(stage: Stage):
    """One command, and the next shell runs a job; a stop leaves nothing running, a second start has everything."""
    port = free_port()
    with stage.dev(port=port) as dev:
        done = stage.strait("trigger", "hello-world", "--payload", '{"greeting": "hi"}', "--wait")
        assert done.returncode == 0, done.stderr
        assert "completed" in done.stdout
        assert dev.stop() == 0
        stage.expect_nothing_running()
    assert not answers(f"http://127.0.0.1:{port}/health")
    with stage.dev(port=port) as dev:
        runs = json.loads(stage.strait("runs", "list", "-o", "json").stdout)
        assert [run["status"] for run in runs] == ["completed"]
        assert dev.stop(number=signal.SIGINT) == 0


def test_the_announcement(running):
    """It names the addresses, where the data and the key are, and commands to go on with."""
    stage, dev = running
    assert dev.url in dev.said
    assert "/hello" in dev.said
    assert str(stage.data) in dev.said
    assert str(stage.home / ".local/share/strait/dev/internal_secret") in dev.said
    assert "strait trigger hello-world" in dev.said


def test_a_second_dev_is_told_of_the_first(running):
    """The same data twice: exit 3, naming pid and address of the one that runs, which goes on and is still found."""
    stage, dev = running
    refused = stage.strait("dev", "--port", str(free_port()))
    assert refused.returncode == 3
    assert str(dev.pid) in refused.stderr
    assert dev.url in refused.stderr
    assert "--db DIR" in refused.stderr
    assert stage.strait("dev", "reset", "--yes").returncode == 3
    assert stage.strait("dev", "--db", str(stage.home / "other"), "--port", str(dev.port)).returncode == 3
    assert stage.strait("jobs", "list").returncode == 0
    assert dev.call("GET", "/health")["status"] == "ok"


def test_two_devs_side_by_side(running):
    """Another folder and another port: both run."""
    stage, first = running
    with stage.dev("--db", str(stage.home / "other")) as second:
        for dev in (first, second):
            assert dev.wait_for(dev.trigger("hello-world")["id"])["status"] == "completed"


def test_a_port_in_use(stage: Stage):
    """Exit 3 with the port and the way out, before anything has been started or made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = stage.strait("dev", "--port", str(port))
    assert refused.returncode == 3
    assert f"port {port}" in refused.stderr
    assert "--port" in refused.stderr
    assert not stage.data.exists()


def test_an_address_of_another_machine(stage: Stage):
    """An exported HOST that cannot be listened on: the way out is HOST, not another port."""
    refused = stage.strait("dev", "--port", str(free_port()), settings={"HOST": "192.0.2.1"})
    assert refused.returncode == 3
    assert "set HOST" in refused.stderr
    assert "--port" not in refused.stderr


def test_a_killed_dev(stage: Stage):
    """kill -9: PostgreSQL goes with it, and the next start has every run and finishes what was under way."""
    port = free_port()
    with stage.dev(port=port) as dev:
        sample = dev.call("GET", "/v1/jobs/hello-world")["endpoint_url"].removesuffix("/hello")
        dev.make_job(f"{sample}/slow?secs=0.5", "slow")
        done = dev.wait_for(dev.trigger("hello-world")["id"])
        cut = dev.trigger("slow")["id"]
        dev.wait_for(cut, "executing")
        dev.kill()
        stage.expect_nothing_running()
    # With the usual minute before a worker counts as dead: the next start knows that this one is.
    with stage.dev(port=port) as dev:
        assert dev.run(done["id"])["status"] == "completed"
        assert dev.wait_for(cut, seconds=30)["status"] == "completed"


def test_a_killed_postgres(stage: Stage):
    """PostgreSQL falls under a running dev: it is started again, and runs go on."""
    with stage.dev() as dev:
        before = postmaster(stage)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: postmaster(stage) not in {0, before}, 20, lambda: dev.said)
        run = eventually(lambda: accepted(dev), 20, lambda: dev.said)
        assert dev.wait_for(run["id"])["status"] == "completed"
        assert dev.stop() == 0


def postmaster(stage: Stage) -> int:
    try:
        lines = (stage.data / "data" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return 0
    return int(lines[0]) if len(lines) > 7 and lines[7].strip() == "ready" else 0


def accepted(dev):
    answer = dev.client.post("/v1/jobs/hello-world/trigger", json={})
    return answer.json() if answer.status_code == 201 else None


def test_ephemeral_data_goes_at_the_end(stage: Stage):
    """`--ephemeral` makes a folder of its own and removes it; nothing is kept but the key."""
    with stage.dev("--ephemeral") as dev:
        assert dev.wait_for(dev.trigger("hello-world")["id"])["status"] == "completed"
        assert len(list(stage.temporary.iterdir())) == 1
        assert dev.stop() == 0
    assert list(stage.temporary.iterdir()) == []
    assert not stage.data.exists()


def test_what_a_killed_ephemeral_dev_leaves(stage: Stage):
    """A later dev removes the folder of one that was killed, once it is old enough to be nobody's."""
    with stage.dev("--ephemeral") as dev:
        dev.kill()
    (left,) = stage.temporary.iterdir()
    os.utime(left, (0, 0))
    with stage.dev("--ephemeral") as dev:
        assert not left.exists()
        assert dev.stop() == 0


@pytest.mark.parametrize("sign", ["lock", "data/PG_VERSION", "dev.json"])
def test_a_stop_while_it_starts(stage: Stage, sign: str):
    """SIGTERM before it is up: exit 0, nothing is left running, and the same folder serves the next start."""
    folder = stage.home / "db"
    process, output = stage.start("dev", "--db", str(folder), "--port", str(free_port()))
    try:
        eventually(lambda: (folder / sign).exists() or process.poll() is not None, 60, output.read_text)
        process.terminate()
        assert process.wait(30) == 0, output.read_text()
    finally:
        end(process)
    assert "Traceback" not in output.read_text()
    stage.expect_nothing_running()
    with stage.dev("--db", str(folder)) as dev:
        assert dev.stop() == 0


def test_an_exported_database_is_left_alone(stage: Stage, database: str):
    """DATABASE_URL and its companions belong to another deployment: not used, and said so."""
    foreign = {"DATABASE_URL": database, "DATABASE_DIRECT_URL": database, "INTERNAL_SECRET": "somebody-else" * 4}
    with stage.dev(settings=foreign) as dev:
        assert "DATABASE_URL, DATABASE_DIRECT_URL, INTERNAL_SECRET ignored" in dev.said
        assert dev.wait_for(dev.trigger("hello-world")["id"])["status"] == "completed"
    assert not has_schema(database)


def test_a_database_of_ones_own(stage: Stage, database: str):
    """`--database URL` works on that one and starts none; its password is on no command line."""
    with stage.dev("--database", "env:MINE", settings={"MINE": database}) as dev:
        assert dev.wait_for(dev.trigger("hello-world")["id"])["status"] == "completed"
        assert not stage.data.exists()
        password = psycopg.conninfo.conninfo_to_dict(database)["password"]
        assert password
        assert str(password) not in argv_texts(list(stage.processes()))
        assert str(password) not in dev.said
    assert has_schema(database)


def has_schema(database: str) -> bool:
    with psycopg.connect(database) as conn:
        row = conn.execute("SELECT to_regnamespace('strait') IS NOT NULL").fetchone()
        return row == (True,)


def test_secrets_stay_secret(running):
    """The secrets are their owner's alone, and are neither said nor on a command line."""
    stage, dev = running
    assert dev.wait_for(dev.trigger("hello-world")["id"])["status"] == "completed"
    shown = argv_texts(list(stage.processes()))
    assert "strait_daemon" in shown
    assert [path.name for path in stage.secrets] == ["encryption_key", "internal_secret", "jwt_signing_key"]
    for path in stage.secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert len(path.read_text().strip()) >= 43
    password = (stage.data / "password").read_text().strip()
    for secret in (*(path.read_text().strip() for path in stage.secrets), password):
        assert secret not in dev.said
        assert secret not in shown


def test_without_the_sample(stage: Stage):
    """`--no-sample`: no endpoint, and no job that would call it."""
    with stage.dev("--no-sample") as dev:
        assert dev.call("GET", "/v1/jobs")["data"] == []
        assert "sample endpoint" not in dev.said


@pytest.mark.parametrize(
    ("path", "attempts"), [("/hello?delay=0", 1), ("/echo", 1), ("/flaky", 2), ("/slow?secs=0.1", 1)]
)
def test_the_sample_endpoint(running, path: str, attempts: int):
    """Each behaviour of the sample can be tried; the flaky one shows a retry."""
    _, dev = running
    sample = dev.call("GET", "/v1/jobs/hello-world")["endpoint_url"].removesuffix("/hello")
    slug = path.strip("/").partition("?")[0]
    dev.make_job(sample + path, slug)
    run = dev.wait_for(dev.trigger(slug, payload={"n": 1})["id"])
    assert (run["status"], run["attempt"]) == ("completed", attempts)


def test_reset(stage: Stage):
    """`dev reset` throws the data away and says so; it asks first, and needs none to be there."""
    with stage.dev() as dev:
        dev.wait_for(dev.trigger("hello-world")["id"])
        assert dev.stop() == 0
    assert stage.strait("dev", "reset").returncode == 2
    assert (stage.data / "data").exists()
    done = stage.strait("dev", "reset", "--yes")
    assert done.returncode == 0
    assert str(stage.data) in done.stderr
    assert not (stage.data / "data").exists()
    assert stage.strait("dev", "reset", "--yes").returncode == 0
