"""A process that owns a bundled server, so that a test can kill it: `python -m tests.support.owner DIR postgres|valkey`.

It prints one JSON line about its server, then waits for the end of its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Owner:
    """A running owner and what it said about its server."""

    process: subprocess.Popen[bytes]
    said: dict[str, Any]

    @property
    def pid(self) -> int:
        """The owner's own process id, as it sees it."""
        return int(self.said["owner"])

    def kill(self) -> None:
        """Kill it the hard way and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def owning(directory: Path, kind: str = "postgres", *, before: Sequence[str] = ()) -> Iterator[Owner]:
    """Run an owner, the words of `before` in front of its command; it ends with the block, its server with it."""
    command = [*before, sys.executable, "-m", "tests.support.owner", str(directory), kind]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdin, stdout, stderr = _pipes(process)
    try:
        line = stdout.readline()
        assert line, stderr.read().decode()
        yield Owner(process, json.loads(line))
    finally:
        stdin.close()
        process.wait(30)
        stdout.close()
        stderr.close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr


def main() -> None:
    """Start the server, say so, wait, stop it."""
    from strait_daemon.embedded import PostgresServer, ValkeyServer, find_postgres
    from tests.support.postgres import binaries_source

    directory, kind = Path(sys.argv[1]), sys.argv[2]
    server: PostgresServer | ValkeyServer
    if kind == "postgres":
        server = PostgresServer.start(directory, binaries=find_postgres(binaries_source()))
        about = {"dsn": server.dsn, "identity_uid": os.geteuid(), "notice": server.notice}
    else:
        server = ValkeyServer.start(directory)
        about = {"url": server.url}
    with server:
        about |= {"owner": os.getpid(), "pid": server.pid, "port": server.port}
        sys.stdout.write(json.dumps(about) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
