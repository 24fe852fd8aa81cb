"""Every test here gets a folder of its own and must leave no server running on it, nor sockets outside it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from strait_daemon.embedded import PostgresBinaries, find_postgres
from tests.support.postgres import binaries_source

# So long a folder may stand whose server, of a test beside this one, has not begun to listen yet, or has just ended.
GONE_SECS: Final = 10.0


@pytest.fixture(scope="session")
def binaries() -> PostgresBinaries:
    return find_postgres(binaries_source())


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that other accounts may pass through."""
    path = Path(tempfile.mkdtemp(prefix="strait-test-", dir="/tmp"))
    path.chmod(0o711)
    before = far_sockets()
    yield path
    left = [process for process in Path("/proc").glob("[0-9]*") if works_in(process, path)]
    deadline = time.monotonic() + GONE_SECS
    while (outside := {one for one in far_sockets() - before if not is_used(one)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    shutil.rmtree(path)
    assert not left
    assert not outside


def far_sockets() -> set[Path]:
    # As mkdtemp names them: the folders of tests and of benchmarks under way have longer names.
    return set(Path("/tmp").glob("strait-????????"))


def is_used(folder: Path) -> bool:
    """Whether a server listens there: what this test started has ended, so it is that of a test beside it."""
    try:
        locks = [lock.read_text().splitlines()[0] for lock in folder.glob(".s.PGSQL.*.lock")]
    except (OSError, IndexError):
        return False
    return any(Path("/proc", pid).exists() for pid in locks)


def works_in(process: Path, path: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(path)
    except OSError:
        return False
