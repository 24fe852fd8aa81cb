"""How long the steps of a workflow have taken lately."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from strait_core.store.pool import Conn
from strait_core.store.workflow_rows import rows, snapshot_for

# Runs that are looked at: the newest that are over.
RUNS: Final = 20


async def durations(conn: Conn, workflow_id: UUID) -> dict[str, float]:
    """By ref, the median seconds of completed steps in the newest runs; of several versions the newest counts.

    Steps that have not completed lately are not in it.
    """
    found = await rows(conn, "recent_lengths", {"workflow_id": workflow_id, "limit": RUNS})
    known: dict[str, float] = {}
    for version in sorted({row["version"] for row in found}):
        refs = (await snapshot_for(conn, workflow_id, version)).steps
        known |= {refs[row["step"]].step_ref: row["secs"] for row in found if row["version"] == version}
    return known
