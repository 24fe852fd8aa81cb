"""The quickstart, word for word: a shell, curl, the installed command and the system's own PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from strait_daemon.embedded import PostgresServer, Source, ValkeyServer, find_postgres
from tests.support.daemon import (
    ROOT,
    Daemon,
    client_for,
    end,
    environment,
    free_port,
    spawn,
    strait_command,
    wait_until_serving,
)
from tests.support.endpoint import Endpoint

SECRET = "quickstart-internal-secret-0123456789"
CREATE = """curl -X POST :8080/v1/jobs -H "Authorization: Bearer $INTERNAL_SECRET" -H 'Content-Type: application/json' \
  -d '{"project_id":"proj_123","name":"Hello World","slug":"hello-world","endpoint_url":"https://ENDPOINT/post","timeout_secs":60,"max_attempts":3}'"""
TRIGGER = """curl -X POST :8080/v1/jobs/hello-world/trigger -H "Authorization: Bearer $INTERNAL_SECRET" \
  -H 'Content-Type: application/json' -d '{"payload":{"greeting":"Hello from Strait!"}}'"""
SHOW = """curl :8080/v1/runs/RUN -H "Authorization: Bearer $INTERNAL_SECRET" """

WORKFLOW = """curl -X POST :8080/v1/workflows -H "Authorization: Bearer $INTERNAL_SECRET" \
  -H 'Content-Type: application/json' \
  -d '{"project_id":"proj_123","name":"Data Pipeline","slug":"data-pipeline","steps":[
  {"step_ref":"extract","job_id":"JOB","payload":{"action":"extract"}},
  {"step_ref":"transform","job_id":"JOB","depends_on":["extract"],"payload":{"action":"transform"}}]}'"""


@dataclass
class Shell:
    """A shell with what the quickstart exports."""

    daemon: Daemon
    endpoint: Endpoint
    env: dict[str, str]

    def run(self, command: str) -> str:
        """Run one command as typed, but for the two addresses that the quickstart leaves open; what it printed."""
        typed = re.sub(r"(?<=[ /]):8080|127\.0\.0\.1:8080", f"127.0.0.1:{self.daemon.port}", command)
        typed = re.sub(r"https://(ENDPOINT|api\.example\.com)/post", self.endpoint.url("/echo"), typed)
        done = subprocess.run(
            ["bash", "-c", typed],
            env=self.env,
            cwd=self.daemon.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{typed}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def shell(endpoint: Endpoint, valkey_server: ValkeyServer) -> Iterator[Shell]:
    """`strait --mode all` runs in the background, with PostgreSQL and Redis from elsewhere."""
    folder = Path(tempfile.mkdtemp(prefix="strait-test-"))
    port = free_port()
    with PostgresServer.start(folder / "postgres", binaries=find_postgres(Source.SYSTEM)) as server:
        exported = {
            "DATABASE_URL": server.tcp_dsn,
            "REDIS_URL": valkey_server.url,
            "INTERNAL_SECRET": SECRET,
            "JWT_SIGNING_KEY": SECRET[::-1],
            "ALLOW_PRIVATE_ENDPOINTS": "true",
            "STRAIT_SERVER": f"http://127.0.0.1:{port}",
        }
        env = environment(folder, exported)
        env["PATH"] = f"{Path(strait_command()[0]).parent}{os.pathsep}{env['PATH']}"
        process = spawn(["strait", "--mode", "all"], {**env, "PORT": str(port)}, folder / "output")
        try:
            with client_for(port, SECRET) as client:
                wait_until_serving(process, client, folder / "output")
                yield Shell(Daemon(process, port, folder / "output", folder, client), endpoint, env)
        finally:
            end(process)
    shutil.rmtree(folder)


def test_the_quickstart(shell: Shell):
    """Create, trigger, show, watch, stats: each answers as the contract says."""
    job = json.loads(shell.run(CREATE))
    assert (job["slug"], job["project_id"], job["timeout_secs"], job["max_attempts"]) == (
        "hello-world",
        "proj_123",
        60,
        3,
    )
    run = json.loads(shell.run(TRIGGER))
    assert {"id", "job_id", "status", "priority", "created_at", "scheduled_at", "next_retry_at"} <= run.keys()
    assert run["id"].startswith("run_")
    assert run["job_id"] == job["id"]
    watched = shell.run(f"strait runs watch {run['id']}")
    assert "completed" in watched
    shown = json.loads(shell.run(SHOW.replace("RUN", run["id"])))
    assert shown["status"] == "completed"
    assert shown["result"] == {"greeting": "Hello from Strait!"}
    assert "of 100 used" in shell.run("strait stats")
    workflow = json.loads(shell.run(WORKFLOW.replace("JOB", job["id"])))
    assert workflow["slug"] == "data-pipeline"
    started = json.loads(shell.run("strait workflows trigger data-pipeline -o json"))
    assert "completed" in shell.run(f"strait workflow-runs watch {started['id']}")
    call, extract, transform = shell.endpoint.calls
    assert (extract.json["action"], transform.json["action"]) == ("extract", "transform")
    assert call.json == {"greeting": "Hello from Strait!"}
    assert call.headers["X-Job-ID"] == job["id"]
    assert call.headers["Idempotency-Key"] == run["id"]
    assert SECRET not in shell.daemon.said


def test_the_readme(shell: Shell):
    """Every curl command of the README works as printed, in its order."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "README.md").read_text())
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("curl ")]
    assert len(commands) >= 2
    answers = [json.loads(shell.run(command)) for command in commands]
    assert answers[0]["slug"] == "hello-world"
    assert shell.daemon.wait_for(answers[1]["id"])["status"] == "completed"
