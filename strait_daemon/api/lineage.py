"""A run's family: who made it, and whom it has made."""

from __future__ import annotations

from typing import Final

from strait_core.errors import NotFoundError
from strait_core.store import lineage, runs
from strait_core.wire import events as wire_events
from strait_daemon.api import shape
from strait_daemon.api.context import Api
from strait_daemon.api.lookup import no_run, run_id_of
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PROJECT

# Columns that a run in a list leaves out.
_HEAVY: Final = frozenset({"payload", "result", "worker_id"})


async def get_lineage(api: Api, call: Call) -> Reply:
    """GET /v1/runs/{run}/lineage."""
    ref = call.path["run"]
    async with api.connection() as conn:
        row = await runs.get_run(conn, run_id_of(ref))
        if row is None or call.project not in {None, row["project_id"]}:
            raise no_run(ref)
        family = await lineage.lineage(conn, row)
    return reply(
        wire_events.Lineage(
            run=shape.run({name: value for name, value in row.items() if name not in _HEAVY}),
            ancestors=[shape.run(one) for one in family.ancestors],
            descendants=[shape.run(one) for one in family.descendants],
            truncated=not family.is_whole,
        )
    )


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/runs/{run}/lineage",
        handle=get_lineage,
        name="getRunLineage",
        summary=(
            "Read a run's family: the runs that it descends from, and those that it has spawned, been continued by or"
            " started by its end (at most 1,000)."
        ),
        tag="runs",
        returns=wire_events.Lineage,
        query=(PROJECT,),
        raises=(NotFoundError,),
    ),
)
