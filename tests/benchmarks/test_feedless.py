"""What the feed of changes costs is told beside the same statements without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.feedless import without_objects, without_publishing
from strait_core.store.sql import load
from tests.support.daemon import ROOT


def test_only_what_the_feed_needs_is_left_out():
    """Deltas count as before and name no objects; nothing else of a statement changes; the fold publishes nothing."""
    changed = 0
    for name, text in load("queue").items():
        before = text.decode()
        after = without_objects(before)
        head, counted, tail = before.partition("INTO strait.stats_deltas")
        assert after.startswith(head), name
        assert ", ids, owners" not in after, name
        # Behind the delta comes what the statement answers.
        assert after.endswith(tail[tail.rindex("\n)\n") :] if counted else tail), name
        changed += after != before
    assert changed == 10
    fold = without_publishing(load("stats")["fold"].decode())
    assert "published" not in fold
    assert "stats_depth" in fold


def test_a_statement_of_another_shape_is_refused():
    """When the feed comes to be written otherwise, the measurement says so instead of comparing it with itself."""
    claim = load("queue")["claim"].decode()
    with pytest.raises(ValueError, match="another delta"):
        without_objects(claim.replace(") c\n", ") objects\n").replace("c.*", "objects.*"))
    with pytest.raises(ValueError, match="another way to publish"):
        without_publishing(claim)


@pytest.mark.slow
def test_drains_with_and_without_the_feed(tmp_path: Path):
    """The short form: each drain has told every change of its runs, or none, and both stand side by side."""
    words = [sys.executable, "-m", "benchmarks", "--quick", "--only", "changes", "--name", str(tmp_path / "found")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    for figure in json.loads((tmp_path / "found.json").read_text())["scenarios"]["changes"]:
        assert len(figure["samples"]) == len(figure["ceilings"]) == 1, figure["name"]
