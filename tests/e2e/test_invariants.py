"""The invariants checker as a program: what somebody runs who does not trust a database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.support.daemon import ROOT, environment


def checked(url: str, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "strait_daemon", "invariants", *words]
    env = environment(home, {"DATABASE_URL": url})
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_it_says_what_is_broken(migrated: str, tmp_path: Path):
    """All well is exit 0; a count that differs is exit 1 and named, for people and for programs."""
    well = checked(migrated, tmp_path)
    assert (well.returncode, well.stdout) == (0, "every invariant holds\n"), well.stderr
    with psycopg.connect(migrated) as conn:
        conn.execute("INSERT INTO strait.stats_depth VALUES ('p', 'queued', 3)")
    broken = checked(migrated, tmp_path)
    assert broken.returncode == 1
    assert broken.stdout.startswith("depth_differs: 1, like project p, queued")
    (told,) = json.loads(checked(migrated, tmp_path, "-o", "json").stdout)
    assert (told["invariant"], told["count"]) == ("depth_differs", 1)


def test_it_needs_a_database(tmp_path: Path):
    """No DATABASE_URL: exit 3 and the fix."""
    refused = checked("", tmp_path)
    assert refused.returncode == 3
    assert "DATABASE_URL" in refused.stderr
