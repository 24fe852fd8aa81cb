"""One real daemon for the tests of the command line, with jobs that show every ending, and shells to type in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from strait_daemon.embedded import PostgresServer
from tests.cli.runner import Shell
from tests.support.daemon import SECRET, Daemon, running_daemon
from tests.support.endpoint import Endpoint, serving_endpoint
from tests.support.postgres import create_database, drop_database, unique_name

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cli_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The database of the session's daemon."""
    name = unique_name()
    yield create_database(postgres_server, name)
    drop_database(postgres_server, name)


@pytest.fixture(scope="session")
def cli_daemon(cli_database: str) -> Iterator[Daemon]:
    """The daemon of the session."""
    with running_daemon(cli_database) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def cli_endpoint() -> Iterator[Endpoint]:
    """The endpoint of the session's jobs."""
    with serving_endpoint() as serving:
        yield serving


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell in an empty home, without any server."""
    return Shell(tmp_path, {"STRAIT_SERVER": "http://127.0.0.1:9"})


@pytest.fixture
def shell(tmp_path: Path, cli_daemon: Daemon) -> Shell:
    """A shell in an empty home, with the daemon's address and key in the environment, and a project of its own."""
    return Shell(
        tmp_path,
        {
            "STRAIT_SERVER": cli_daemon.url,
            "INTERNAL_SECRET": SECRET,
            "STRAIT_PROJECT": f"p{next(_numbers)}",
        },
    )


@pytest.fixture
def job(shell: Shell, cli_endpoint: Endpoint) -> str:
    """The slug of a job that completes and echoes its payload."""
    shell.ok("jobs", "create", "--name", "Echo", "--slug", "echo", "--endpoint", cli_endpoint.url("/echo"))
    return "echo"


@pytest.fixture
def failing_job(shell: Shell, cli_endpoint: Endpoint) -> str:
    """The slug of a job whose one attempt fails."""
    url = cli_endpoint.url("/status/500")
    shell.ok("jobs", "create", "--name", "Bad", "--slug", "bad", "--endpoint", url, "--max-attempts", "1")
    return "bad"
