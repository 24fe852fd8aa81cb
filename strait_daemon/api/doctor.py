"""GET /v1/doctor: everything that the daemon can see of what it stands on."""

from __future__ import annotations

import asyncio
from typing import Final

from strait_core.store import checkup as store
from strait_core.wire.doctor import Checkup, Finding, Verdict
from strait_daemon import checkup
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Operation, Reply, reply

# Jobs whose endpoints are looked at; names that do not resolve in time pass.
MOST_ENDPOINTS: Final = 100


async def get_doctor(api: Api, _: Call) -> Reply:
    """GET /v1/doctor."""
    deps = api.deps
    now = deps.clock.now()
    async with api.connection() as conn:
        found = await checkup.database_findings(conn, now)
        found += await checkup.queue_findings(conn, now, deps.stale_after)
        found += await checkup.breaker_findings(conn)
        found += await checkup.sink_findings(conn, now, deps.sinks)
        called = await store.endpoints(conn, MOST_ENDPOINTS)
    found = [*await deps.process_findings(), *found, *await _endpoints(api, called)]
    return reply(Checkup(now=deps.clock.now(), version=deps.version, findings=found))


async def _endpoints(api: Api, called: list[store.Called]) -> list[Finding]:
    """Endpoints that the daemon would refuse to call."""
    refusals = await asyncio.gather(*(api.deps.guard.refusal(one.url or "") for one in called))
    refused = [(one, said) for one, said in zip(called, refusals, strict=True) if said]
    if not refused:
        return [checkup.finding("endpoint addresses", Verdict.PASS, f"{len(called)} may be called")]
    return [
        checkup.finding(
            f"endpoint of {one.job_slug}",
            Verdict.FAIL,
            f"its URL {said}",
            f"another URL: strait jobs update {one.job_slug} --endpoint URL; or open it: ALLOW_PRIVATE_ENDPOINTS",
        )
        for one, said in refused[: checkup.MOST_NAMED]
    ]


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/doctor",
        handle=get_doctor,
        name="getDoctor",
        summary="Whether the process, its database, its queue and its endpoints are well; each finding with its fix.",
        tag="ops",
        returns=Checkup,
    ),
)
