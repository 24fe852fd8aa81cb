"""Each example of `examples/` is one command against a running `strait dev`, as its README says; all share one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, staged
from tests.support.daemon import Daemon

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/run.sh"))
# What each says when it is over.
SAID = {
    "approval": ["approval by ada, grace", "completed\tapprove", "completed\tdeploy"],
    "etl": ["skipped\trefunds", "completed\tload", "loaded for"],
    "orders": ["completed\tpaid", "completed\tship", '"paid": 42'],
    "saga": ["failed\tpayment", "hotel\tcompleted\trun_", "ended as compensated"],
}


@pytest.fixture(scope="module")
def said() -> Iterator[dict[str, subprocess.CompletedProcess[str]]]:
    """What every example has said, run side by side against one daemon."""
    with staged() as stage, stage.dev() as dev, ThreadPoolExecutor(2) as pool:
        yield dict(zip(EXAMPLES, pool.map(lambda name: run(stage, dev, name), EXAMPLES), strict=True))


def run(stage: Stage, dev: Daemon, name: str) -> subprocess.CompletedProcess[str]:
    """The command of the README, with the installed `strait` on the path."""
    found = re.search(r"http://127\.0\.0\.1:\d+(?=/hello)", dev.said)
    assert found is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", f"examples/{name}/run.sh"],
        cwd=ROOT,
        env={**stage.environment(), "PATH": path, "SAMPLE": found.group()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_it_shows(said: dict[str, subprocess.CompletedProcess[str]], name: str):
    """It ends well, and what it shows has happened."""
    done = said[name]
    assert done.returncode == 0, done.stdout + done.stderr
    for text in SAID[name]:
        assert text in done.stdout + done.stderr


def test_the_page_names_every_example():
    """And nothing else."""
    page = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"sh examples/(\w+)/run\.sh", page)) == EXAMPLES == sorted(SAID)
