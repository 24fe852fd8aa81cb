"""The views in a real terminal, inside tmux: drawn, resized, answered by keys, and the shell as it was afterwards."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from strait_daemon.embedded import PostgresServer
from tests.support.daemon import SECRET, Daemon, environment, running_daemon, strait_command
from tests.support.endpoint import serving_endpoint
from tests.support.postgres import fresh_database
from tests.support.waiting import eventually


class Tmux:
    """A tmux server of its own with one window of 80×24, a shell in it."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        found = shutil.which("tmux")
        assert found, "tmux is not installed: .ci/run installs what these tests need"
        self._words = [found, "-L", f"strait-{uuid.uuid4().hex[:8]}", "-f", "/dev/null"]
        self._environ = {**environ, "TERM": "xterm-256color", "PS1": "ready> "}
        self._tmux("new-session", "-d", "-x", "80", "-y", "24", "-c", str(folder), "sh", "-i")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            [*self._words, *words], env=self._environ, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def type(self, text: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        """Press keys."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def shown(self) -> str:
        """The text in the window."""
        return self._tmux("capture-pane", "-p")

    def until(self, *texts: str) -> None:
        """Wait until all of this is shown."""
        eventually(lambda: all(text in self.shown for text in texts), 30, lambda: f"{texts} not in:\n{self.shown}")

    def close(self) -> None:
        """End the tmux server."""
        self._tmux("kill-server")


@pytest.fixture(scope="module")
def daemon(postgres_server: PostgresServer) -> Iterator[Daemon]:
    """A daemon with a job that hangs."""
    with running_daemon(fresh_database(postgres_server)) as running, serving_endpoint() as endpoint:
        running.make_job(endpoint.url("/hang"), "hang")
        yield running


@pytest.fixture
def tmux(tmp_path: Path, daemon: Daemon) -> Iterator[Tmux]:
    """A shell in tmux that finds the program and the daemon."""
    folder = Path(strait_command()[0]).parent
    environ = environment(tmp_path, {"STRAIT_SERVER": daemon.url, "INTERNAL_SECRET": SECRET})
    opened = Tmux({**environ, "PATH": f"{folder}:{environ['PATH']}"}, tmp_path)
    yield opened
    opened.close()


def test_a_run_is_watched_in_tmux(tmux: Tmux, daemon: Daemon):
    """Small, then large, then canceled from the view: exit 9 and the outcome stands below the command."""
    run = daemon.trigger("hang")
    tmux.type(f"strait runs watch {run['id']}; echo left with $?")
    tmux.until("executing", "Path", "Attempts", "Quit")
    assert "Payload ─" not in tmux.shown
    tmux.resize(160, 50)
    tmux.until("Payload ─", "Result ─", "Logs ─")
    tmux.press("c")
    tmux.until("Cancel")
    tmux.press("y")
    tmux.until("any key keeps it open")
    tmux.press("q")
    tmux.until("left with 9", "ended canceled")


def test_the_dashboard_in_tmux(tmux: Tmux, daemon: Daemon):
    """Tabs by number, a row opened, back, out; the shell is as it was."""
    run = daemon.trigger("hang")
    tmux.type("strait dashboard; echo left with $?")
    tmux.until("Queue", "Throughput", "Newest runs", "hang")
    tmux.press("2")
    tmux.until("STATUS", "executing")
    tmux.press("Enter")
    tmux.until("Path", "Attempts", run["id"])
    tmux.press("q")
    tmux.until("STATUS")
    tmux.press("q")
    tmux.until("left with 0")
    assert "STATUS" not in tmux.shown
    daemon.call("POST", f"/v1/runs/{run['id']}/cancel", {})
