"""One real Valkey per test session, from the wheel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from strait_daemon.embedded import ValkeyServer


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """The session's server; its `url` carries the password."""
    with (
        tempfile.TemporaryDirectory(prefix="strait-test-") as directory,
        ValkeyServer.start(Path(directory)) as server,
    ):
        yield server
