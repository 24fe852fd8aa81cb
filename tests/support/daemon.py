"""Real daemons for tests: started as a person starts them, with an environment of their own, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from strait_core.run import TERMINAL
from tests.support.forked import Process, fork
from tests.support.plain import NO_TLS
from tests.support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "test-internal-secret-0123456789abcdef"
SIGNING_KEY: Final = "test-jwt-signing-key-0123456789abcdef"
ENCRYPTION_KEY: Final = "test-encryption-key-0123456789abcdef"
# Recovery in seconds instead of a minute: see reaper.py and worker.py for what hangs on these.
FAST: Final[Mapping[str, str]] = {
    "HEARTBEAT_INTERVAL": "0.5",
    "STALE_THRESHOLD": "2",
    "REAPER_INTERVAL": "0.2",
    "DRAIN_TIMEOUT": "10",
    # The tests' endpoints listen on loopback.
    "ALLOW_PRIVATE_ENDPOINTS": "true",
    "ENCRYPTION_KEY": ENCRYPTION_KEY,
}


def strait_command() -> list[str]:
    """The installed command; the module where nothing is installed."""
    installed = Path(sys.executable).with_name("strait")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "strait_cli"]


def environment(home: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a fresh account would have, and `settings`: nothing of the tester's own environment leaks in."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "STRAIT_TEST_POSTGRES") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **(settings or {})}


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Daemon:
    """One running daemon process and a client for its API."""

    process: Process
    port: int
    output: Path
    home: Path
    client: httpx.Client

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def said(self) -> str:
        """Everything it wrote so far, both streams."""
        return self.output.read_text(errors="replace")

    def call(self, method: str, path: str, body: Any = None, *, status: int | None = None, **more: Any) -> Any:
        """One API call; the decoded answer. `status` is the one to expect, by default any success."""
        answer = self.client.request(method, path, **({"json": body} if body is not None else {}), **more)
        wanted = answer.is_success if status is None else answer.status_code == status
        assert wanted, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def make_job(self, endpoint_url: str, slug: str = "job", **more: Any) -> dict[str, Any]:
        """Create a job in project `p`."""
        body = {"project_id": "p", "name": slug, "slug": slug, "endpoint_url": endpoint_url, **more}
        job: dict[str, Any] = self.call("POST", "/v1/jobs", body, status=201)
        return job

    def trigger(self, slug: str = "job", payload: Any = None, **more: Any) -> dict[str, Any]:
        """Trigger one run."""
        run: dict[str, Any] = self.call("POST", f"/v1/jobs/{slug}/trigger", {"payload": payload, **more}, status=201)
        return run

    def trigger_many(self, count: int, slug: str = "job") -> list[str]:
        """Trigger up to a thousand runs at once; their ids."""
        items = [{"payload": {"n": n}} for n in range(count)]
        batch = self.call("POST", f"/v1/jobs/{slug}/trigger/bulk", {"items": items}, status=201)
        return [run["id"] for run in batch["data"]]

    def run(self, run_id: str) -> dict[str, Any]:
        """One run as it is now."""
        found: dict[str, Any] = self.call("GET", f"/v1/runs/{run_id}")
        return found

    def wait_for(self, run_id: str, *states: str, seconds: float = 20) -> dict[str, Any]:
        """Wait until the run is in one of these states, by default in a terminal one."""
        wanted = frozenset(states) or TERMINAL
        last: dict[str, Any] = {}

        def arrived() -> bool:
            last.update(self.run(run_id))
            return last["status"] in wanted

        eventually(arrived, seconds, lambda: f"run {run_id} is {last.get('status')}: {last.get('error')}")
        return last

    def stop(self, seconds: float = 30, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and wait; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Kill it the hard way and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)


def spawn(
    words: Sequence[str], env: Mapping[str, str], output: Path, *, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a program with both streams into one file."""
    with output.open("ab") as sink:
        return subprocess.Popen(
            list(words), env=dict(env), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=cwd or output.parent
        )


def wait_until_serving(process: Process, client: httpx.Client, output: Path, seconds: float = 120) -> None:
    """Wait until the process answers its liveness probe; its own last words when it ends instead."""

    def answers() -> bool:
        assert process.poll() is None, f"it ended with {process.poll()}:\n{output.read_text(errors='replace')}"
        try:
            return client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers, seconds, lambda: f"not serving:\n{output.read_text(errors='replace')}")


@contextmanager
def running_daemon(
    database_url: str,
    *,
    mode: str = "all",
    settings: Mapping[str, str] | None = None,
    port: int | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[Daemon]:
    """`strait serve` on a database, ready to answer; ended with the block however that ends.

    `settings` are laid over FAST; `command` is one to start from nothing instead of `strait_daemon serve` from the
    nursery.
    """
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="strait-test-") as folder:
        home, output = Path(folder), Path(folder) / "output"
        given = {
            **FAST,
            "DATABASE_URL": database_url,
            "INTERNAL_SECRET": SECRET,
            "JWT_SIGNING_KEY": SIGNING_KEY,
            "MODE": mode,
            "PORT": str(port),
            **(settings or {}),
        }
        env = environment(home, given)
        process: Process = fork(["serve"], env, output) if command is None else spawn(command, env, output)
        with client_for(port) as client:
            try:
                wait_until_serving(process, client, output)
                yield Daemon(process, port, output, home, client)
            finally:
                end(process)


def client_for(port: int, secret: str = SECRET) -> httpx.Client:
    """An API client with the credential of these tests; proxy variables are ignored."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=20,
        trust_env=False,
        verify=NO_TLS,
    )


def end(process: Process) -> None:
    """End a process that a test may have left running: kindly, then by force."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
