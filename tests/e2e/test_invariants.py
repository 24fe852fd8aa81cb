"""`strait doctor --invariants`: what somebody runs who does not trust a database."""

from __future__ import annotations

import json

import psycopg
import pytest

from strait_core.store.invariants import PATH_BROKEN, STATEMENTS
from tests.e2e.stage import Stage
from tests.support.daemon import free_port

CHECKS = [*STATEMENTS, PATH_BROKEN]


def test_a_line_for_each_check(stage: Stage, migrated: str):
    """All well is exit 0; counts that differ are exit 1 and named, for people and for programs."""
    settings = {"DATABASE_URL": migrated}
    well = stage.strait("doctor", "--invariants", settings=settings)
    assert (well.returncode, well.stderr) == (0, f"{len(CHECKS)} of {len(CHECKS)} checks passed\n")
    assert well.stdout.splitlines() == [f"pass  {name}" for name in CHECKS]
    with psycopg.connect(migrated) as conn:
        conn.execute("INSERT INTO strait.stats_depth SELECT 'p' || n, 'queued', 3 FROM generate_series(1, 12) n")
    broken = stage.strait("doctor", "--invariants", settings=settings)
    assert broken.returncode == 1
    (line,) = [line for line in broken.stdout.splitlines() if not line.startswith("pass")]
    assert line.split()[:3] == ["FAIL", "depth_differs", "12:"]
    assert "project p1, queued: counts 3, there are 0; " in line
    assert line.endswith("; and 2 more")
    told = stage.strait("doctor", "--invariants", "-o", "json", settings=settings)
    assert told.returncode == 1
    by_name = {check.pop("check"): check for check in json.loads(told.stdout)}
    assert list(by_name) == CHECKS
    assert (by_name["depth_differs"]["passed"], by_name["depth_differs"]["count"]) == (False, 12)
    assert len(by_name["depth_differs"]["examples"]) == 10
    assert by_name["time_ahead"] == {"passed": True, "count": 0, "examples": []}


@pytest.mark.parametrize(
    ("words", "database", "code", "said"),
    [
        (("--database", "env:X"), "", 2, "--invariants"),
        (("--invariants", "-o", "yaml"), "", 2, "json"),
        (("--invariants",), "", 3, "DATABASE_URL"),
        (("--invariants",), "postgresql://me:hunter2@127.0.0.1:{port}/x", 8, "cannot reach PostgreSQL at 127.0.0.1:"),
    ],
)
def test_it_says_what_it_lacks(stage: Stage, words: tuple[str, ...], database: str, code: int, said: str):
    """Nothing to look at, a format it has not, no database named, none that answers."""
    settings = {"DATABASE_URL": database.format(port=free_port())} if database else {}
    refused = stage.strait("doctor", *words, settings=settings)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert said in refused.stderr
    assert "hunter2" not in refused.stderr


def test_a_database_without_tables(stage: Stage, database: str):
    """Nothing was migrated: exit 3 and the fix; a bad length of time too."""
    settings = {"DATABASE_URL": database}
    empty = stage.strait("doctor", "--invariants", settings=settings)
    assert empty.returncode == 3
    assert "strait migrate up" in empty.stderr
    wrong = stage.strait("doctor", "--invariants", settings={**settings, "STALE_THRESHOLD": "soon"})
    assert (wrong.returncode, "STALE_THRESHOLD" in wrong.stderr) == (3, True)
