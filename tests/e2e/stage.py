"""The installed command on a stage of its own: an empty home, real processes, nothing left when the curtain falls."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.daemon import (
    Daemon,
    client_for,
    end,
    environment,
    free_port,
    spawn,
    strait_command,
    wait_until_serving,
)
from tests.support.plain import NO_TLS
from tests.support.scratch import scratch
from tests.support.waiting import eventually


@dataclass
class Stage:
    """An empty home, and what was run in it."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    @property
    def data(self) -> Path:
        """Where `dev` keeps PostgreSQL's data."""
        return self.home / ".local" / "share" / "strait" / "postgres"

    @property
    def secrets(self) -> list[Path]:
        """The files with the secrets of `dev`."""
        return sorted((self.home / ".local" / "share" / "strait" / "dev").iterdir())

    @property
    def temporary(self) -> Path:
        """The folder for temporary files."""
        folder = self.home / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a program here sees."""
        return environment(self.home, {"TMPDIR": str(self.temporary), **self.settings, **(settings or {})})

    def output(self) -> Path:
        """A new file for what a program says."""
        self._count += 1
        return self.home / f"output-{self._count}"

    def strait(self, *words: str, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            [*strait_command(), *words],
            env=self.environment(settings),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *words: str, settings: Mapping[str, str] | None = None) -> tuple[subprocess.Popen[bytes], Path]:
        """Start the command; its process and where its words go."""
        output = self.output()
        return spawn([*strait_command(), *words], self.environment(settings), output), output

    @contextmanager
    def dev(self, *words: str, port: int | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Daemon]:
        """`strait dev`, ready; stopped with the block."""
        port = port or free_port()
        process, output = self.start("dev", "--port", str(port), *words, settings=settings)
        try:
            with client_for(port, "none") as knocking:
                wait_until_serving(process, knocking, output)
            eventually(lambda: "stops everything" in output.read_text(), 10, output.read_text)
            with client_for(port, self.secret("internal_secret")) as client:
                yield Daemon(process, port, output, self.home, client)
        finally:
            end(process)

    def secret(self, name: str) -> str:
        """One of the secrets of `dev`."""
        return next(path for path in self.secrets if path.name == name).read_text().strip()

    def processes(self) -> dict[int, list[str]]:
        """The processes that work anywhere below this home, with their words."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cwd").readlink().is_relative_to(self.home):
                    found[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
            except (OSError, ValueError):
                continue
        return found

    def expect_nothing_running(self, seconds: float = 10) -> None:
        """Wait until no process works here any more."""
        eventually(lambda: not self.processes(), seconds, lambda: f"still running: {self.processes()}")


@contextmanager
def staged(settings: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """A stage; fails when something is left running on it."""
    home = Path(tempfile.mkdtemp(prefix="strait-test-", dir=scratch()))
    stage = Stage(home, dict(settings or {}))
    try:
        yield stage
        stage.expect_nothing_running()
    finally:
        for pid in stage.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        shutil.rmtree(home, ignore_errors=True)


def answers(url: str) -> bool:
    """Whether anything speaks HTTP there."""
    try:
        httpx.get(url, trust_env=False, verify=NO_TLS)
    except httpx.TransportError:
        return False
    return True


def argv_texts(pids: Sequence[int]) -> str:
    """What `ps` shows of these processes."""
    return "\n".join(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids)
