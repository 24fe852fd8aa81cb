"""Why a run is not running, over HTTP."""

from __future__ import annotations

from typing import Final

from strait_core import ids
from strait_core.errors import NotFoundError
from strait_core.reasons import Reason
from strait_core.store import explain
from strait_core.wire.reasons import Explanation, Why
from strait_daemon.api.context import Api
from strait_daemon.api.lookup import no_run, run_id_of
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PROJECT


async def explain_run(api: Api, call: Call) -> Reply:
    """GET /v1/runs/{run}/explain."""
    run_id = run_id_of(call.path["run"])
    now = api.deps.clock.now()
    async with api.connection() as conn:
        found = await explain.explain(conn, run_id, now, alive_since=now - api.deps.stale_after)
    if found is None or call.project not in {None, found.project_id}:
        raise no_run(call.path["run"])
    reasons = [why_of(one) for one in found.reasons]
    return reply(
        Explanation(
            run_id=ids.spell(ids.Prefix.RUN, run_id), job_slug=found.job_slug, status=found.status, reasons=reasons
        )
    )


def why_of(one: Reason) -> Why:
    """A reason as the API shows it."""
    return Why(code=one.code, text=one.text, until=one.until, run_ids=list(one.run_ids), count=one.count)


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/runs/{run}/explain",
        handle=explain_run,
        name="explainRun",
        summary="Why the run is not running: everything that holds it, from the same rules that workers claim by.",
        tag="runs",
        returns=Explanation,
        query=(PROJECT,),
        raises=(NotFoundError,),
    ),
)
