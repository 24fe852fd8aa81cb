"""A clone on a machine where nothing is exported: one command sets it up, and a second one has nothing to do."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from strait_core import __version__
from tests.project.tree import ROOT

pytestmark = pytest.mark.timeout(600)
# A setup that only compares its stamp takes milliseconds; one that installs takes most of a minute.
NOTHING_TO_DO_SECS = 3.0


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("fresh") / "strait"
    safe = ["-c", f"safe.directory={ROOT}", "-c", f"safe.directory={ROOT}/.git"]
    subprocess.run(["git", *safe, "clone", "--quiet", str(ROOT), str(folder)], check=True, timeout=120)
    return folder


def make(clone: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """Run make with an empty home and nothing exported but PATH."""
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        ["make", *targets],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def test_one_command_sets_up_and_a_second_has_nothing_to_do(clone: Path):
    """`make setup` twice: the first one installs the command, the second is silent and instant, git sees nothing."""
    first = make(clone, "setup")
    assert first.returncode == 0, first.stderr
    assert "ready: Python 3." in first.stderr

    began = time.monotonic()
    second = make(clone, "setup")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert time.monotonic() - began < NOTHING_TO_DO_SECS

    version = subprocess.run([clone / ".venv/bin/strait", "--version"], check=True, capture_output=True, text=True)
    assert version.stdout == f"strait {__version__}\n"
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True)
    assert status.stdout == ""


def test_the_demo_runs_and_leaves_nothing(clone: Path):
    """`make demo` runs a job on real parts to completed, and no process of it is left when it returns."""
    shown = make(clone, "demo")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "completed" in shown.stdout + shown.stderr
    assert processes_naming(clone.parent) == []


def processes_naming(folder: Path) -> list[str]:
    """The command lines of all processes that mention the folder."""
    named = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if str(folder) in line:
            named.append(line)
    return named


def test_bare_make_lists_the_targets(clone: Path):
    """Who types only `make` is told what there is, and nothing is installed for it."""
    listed = make(clone)
    assert listed.returncode == 0, listed.stderr
    assert "make demo" in listed.stdout
    assert "make test" in listed.stdout
