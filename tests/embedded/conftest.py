"""Every test here gets a folder of its own and must leave no server running on it, nor sockets outside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from strait_daemon.embedded import PostgresBinaries, find_postgres
from tests.support.postgres import binaries_source


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
    outside = far_sockets() - before
    shutil.rmtree(path)
    assert not left
    assert not outside


def far_sockets() -> set[Path]:
    # As mkdtemp names them: the folders of tests and of benchmarks under way have longer names.
    return set(Path("/tmp").glob("strait-????????"))


def works_in(process: Path, path: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(path)
    except OSError:
        return False
