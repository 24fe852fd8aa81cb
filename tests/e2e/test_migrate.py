"""`strait migrate` on a real database."""

from __future__ import annotations

import json

from tests.e2e.stage import Stage


def test_status_and_up(stage: Stage, database: str):
    """Pending is exit 1 and changes nothing; `up` applies once; then there is nothing to do."""
    settings = {"DATABASE_URL": database}
    for _ in range(2):
        pending = stage.strait("migrate", "status", settings=settings)
        assert pending.returncode == 1, pending.stderr
        assert "pending" in pending.stdout
    up = stage.strait("migrate", "up", settings=settings)
    assert up.returncode == 0, up.stderr
    assert "pending" not in up.stdout
    again = stage.strait("migrate", "up", "-o", "json", settings=settings)
    assert again.returncode == 0
    assert all(row["applied_at"] for row in json.loads(again.stdout))
    assert stage.strait("migrate", "status", settings=settings).stdout == up.stdout


def test_without_a_database(stage: Stage):
    """No DATABASE_URL: exit 3 and the fix."""
    refused = stage.strait("migrate", "status")
    assert refused.returncode == 3
    assert "DATABASE_URL" in refused.stderr
