"""Setting up: instant when it is current, and plain words when it cannot be done."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.tree import ROOT

# All that the script calls besides a Python.
TOOLS = ("sh", "dirname", "cksum", "cut", "sed", "cat", "rm")


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder with the handful of POSIX tools that the script uses, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that setting up reads, in a folder that has not been set up."""
    folder = tmp_path / "checkout"
    for name in ("tools/setup.sh", "requirements/dev.txt", "pyproject.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def setup(folder: Path, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with nothing exported but PATH and what is given."""
    return subprocess.run(
        [str(path / "sh"), str(folder / "tools/setup.sh")],
        env={"PATH": str(path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def fake_python(path: Path, answer: str) -> Path:
    """An interpreter that answers the script's questions (`-c` and its words) with the shell code `answer`."""
    script = path / "python3"
    script.write_text(f"#!{path}/sh\n{answer}\n", encoding="utf-8")
    script.chmod(0o755)
    return script


def test_a_second_setup_does_nothing(bare_path: Path):
    """With the stamp current not even a Python is needed, so nothing can have been installed."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.fail("run the tests with .venv/bin/python: make test")
    stamp = ROOT / ".venv/.stamp"
    before = stamp.stat().st_mtime_ns
    done = setup(ROOT, bare_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == before


def test_without_python_it_says_so(bare_path: Path, checkout: Path):
    """No interpreter that is new enough: the fault and the way out."""
    done = setup(checkout, bare_path)
    assert done.returncode == 1
    assert "no Python >= 3.11 found" in done.stderr
    assert "PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_no_python(bare_path: Path, checkout: Path):
    """An interpreter that says it is too old is passed over."""
    fake_python(bare_path, "exit 1")
    done = setup(checkout, bare_path)
    assert done.returncode == 1
    assert "no Python >= 3.11 found" in done.stderr


def test_a_named_python_that_does_not_work_is_refused(bare_path: Path, checkout: Path):
    """Who names an interpreter is told that it is the one that does not work."""
    named = fake_python(bare_path, "exit 1")
    done = setup(checkout, bare_path, PYTHON=str(named))
    assert done.returncode == 1
    assert f"PYTHON={named} is not a working Python" in done.stderr


def test_without_ensurepip_and_pip_it_names_the_package(bare_path: Path, checkout: Path):
    """Debian's Python without python3-venv: the sentence names what to install."""
    fake_python(bare_path, 'case "$2" in "import ensurepip" | "import pip") exit 1 ;; *) exit 0 ;; esac')
    done = setup(checkout, bare_path)
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
