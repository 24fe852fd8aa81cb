"""`strait demo`: one command from an empty home to a completed run, and nothing of it left."""

from __future__ import annotations

import json
import re
import signal
import subprocess

from tests.e2e.stage import Stage
from tests.support.waiting import eventually

EXPORTED = {"DATABASE_URL": "postgresql://u:p@db.invalid/x", "INTERNAL_SECRET": "short", "MODE": "worker"}


def test_the_demo(stage: Stage):
    """It runs a job to completed, whatever is exported, tells what to try next and leaves no process and no file."""
    done = stage.strait("demo", settings=EXPORTED)
    assert done.returncode == 0, done.stderr
    for word in ("hello-world", "queued", "executing", "completed", "HTTP 200", "Hello from Strait!", "Try next"):
        assert word in done.stdout + done.stderr
    assert len(re.findall(r"^  \S*strait ", done.stderr, re.MULTILINE)) == 3
    stage.expect_nothing_running(0)
    assert [path for path in stage.home.rglob("*") if path != stage.temporary] == []


def test_a_demo_with_faults_in_its_settings(stage: Stage):
    """What keeps the daemon from starting is said in full: each fault that it lists."""
    done = stage.strait("demo", settings={"WORKER_POOL_SIZE": "-3", "LOG_LEVEL": "loud"})
    assert done.returncode == 3
    assert "2 fault" in done.stderr
    assert "WORKER_POOL_SIZE: " in done.stderr
    assert "LOG_LEVEL: " in done.stderr


def test_the_demo_as_json(stage: Stage):
    """`-o json` puts the run on stdout, whole and alone."""
    done = stage.strait("demo", "-o", "json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["status"] == "completed"
    assert run["result"]["received"] == {"greeting": "Hello from Strait!"}


def test_an_interrupted_demo(stage: Stage):
    """Ctrl-C while it starts: exit 130, and what it had started is gone when it returns."""
    process = begun(stage)
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 130
    stage.expect_nothing_running(0)
    assert list(stage.temporary.iterdir()) == []


def test_a_killed_demo(stage: Stage):
    """kill -9 of the demo: its daemon hears of it, ends by itself and tidies up."""
    process = begun(stage)
    process.kill()
    process.wait(10)
    stage.expect_nothing_running(30)
    assert list(stage.temporary.iterdir()) == []


def begun(stage: Stage) -> subprocess.Popen[bytes]:
    """A demo that has PostgreSQL's data already."""
    process, output = stage.start("demo")
    eventually(lambda: list(stage.temporary.glob("*/data/PG_VERSION")), 30, output.read_text)
    return process
