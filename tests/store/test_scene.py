"""The path of a run that completes, each table looked at on the way."""

from __future__ import annotations

from strait_core.run import Status
from tests.store.scene import Scene


async def test_a_run_goes_from_queued_to_completed(scene: Scene):
    """Insert, claim, start, finish: the row moves to the history, the attempt is closed, the counts follow."""
    job = await scene.job()
    (run_id,) = await scene.add(job, payload='{"a": 1}')
    assert (await scene.run(run_id))["status"] == Status.QUEUED
    assert await scene.folded() == {"queued": 1}

    (claimed,) = await scene.claim()
    assert (claimed.id, claimed.attempt, claimed.payload) == (run_id, 0, '{"a": 1}')
    assert (await scene.rows("SELECT * FROM strait.ready")) == []
    (live,) = await scene.start(claimed)
    assert (await scene.run(run_id))["attempt"] == 1
    assert await scene.finish(live, result='{"ok":true}', http_status=200, total_ms=12.5)

    row = await scene.run(run_id)
    assert (row["status"], row["seq"], row["result"], row["finished_at"]) == ("completed", 4, '{"ok":true}', scene.now)
    assert await scene.rows("SELECT * FROM strait.runs") == []
    (attempt,) = await scene.rows("SELECT number, seq, outcome, http_status, total_ms FROM strait.attempts")
    assert attempt == {"number": 1, "seq": 4, "outcome": "completed", "http_status": 200, "total_ms": 12.5}
    assert await scene.folded() == {"completed": 1}
