"""Manifests: what would change, and changing it, all or nothing."""

from __future__ import annotations

import asyncio
from typing import Final

from strait_core import manifest
from strait_core.errors import ConflictError, Fault, PreconditionError, ValidationError
from strait_core.job import JobSpec, check_url
from strait_core.manifest import Wanted
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.wire.manifests import Action, ManifestPlan, ManifestRequest
from strait_core.workflow.definition import WorkflowSpec
from strait_daemon.api.body import MIB, Body
from strait_daemon.api.context import Api
from strait_daemon.api.following import tell
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.jobs import PRIVATE_HINT, URLS
from strait_daemon.api.manifest_work import Work
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PROJECT

MOST_BYTES: Final = 16 * MIB
# Names that are resolved at once, for the addresses behind them are looked at.
_AT_ONCE: Final = 16


async def plan_manifest(api: Api, call: Call) -> Reply:
    """POST /v1/manifests/plan: carried out and taken back, so that what is told is what would happen."""
    wanted = await _wanted(api, call)
    async with api.connection() as conn, conn.transaction(force_rollback=True):
        plan, _ = await _carried_out(api, conn, wanted, call.body)
    plan.applied = False
    for change in plan.changes:
        if change.action is Action.CREATE:
            change.id = None
    return reply(plan)


async def apply_manifest(api: Api, call: Call) -> Reply:
    """POST /v1/manifests/apply."""
    wanted = await _wanted(api, call)
    finished: list[Work] = []

    async def work(conn: Conn) -> Reply:
        plan, done = await _carried_out(api, conn, wanted, call.body)
        finished.append(done)
        return reply(plan)

    answer = await answered_once(api, call, Scope(wanted.project, "applyManifest"), work)
    api.jobs.forget()
    for one in finished:
        tell(api, one.done)
        if one.changes_something:
            api.deps.bus.wake()
    return answer


async def _wanted(api: Api, call: Call) -> Wanted:
    """What the body wants; ValidationError lists everything that is wrong without looking at what is stored."""
    wanted, faults = await asyncio.to_thread(manifest.read, call.body, call.project)
    faults += await _refusals(api, wanted)
    if faults:
        private = any(fault.message.startswith("must name a public") for fault in faults)
        raise ValidationError(faults, hint=PRIVATE_HINT if private else None)
    return wanted


async def _refusals(api: Api, wanted: Wanted) -> list[Fault]:
    """URLs that may not be called; each is looked at once."""
    places = [
        (f"{item.at}/{name}", url)
        for item in wanted.items
        if isinstance(item.spec, JobSpec | WorkflowSpec)
        for name in URLS
        if (url := getattr(item.spec, name, None)) and name in item.named and not check_url(name, url)
    ]
    room = asyncio.Semaphore(_AT_ONCE)

    async def ask(url: str) -> str | None:
        async with room:
            return await api.deps.guard.refusal(url)

    urls = list(dict.fromkeys(url for _, url in places))
    refused = dict(zip(urls, await asyncio.gather(*(ask(url) for url in urls)), strict=True))
    return [Fault(pointer, said) for pointer, url in places if (said := refused[url])]


async def _carried_out(api: Api, conn: Conn, wanted: Wanted, body: ManifestRequest) -> tuple[ManifestPlan, Work]:
    """The manifest, carried out in the caller's transaction, which is to be taken back when this raises."""
    done = Work(api, conn, wanted, prune=body.prune)
    await done.carry_out()
    plan = done.plan()
    if isinstance(body.expect, str) and body.expect != plan.digest:
        raise PreconditionError(
            "what the manifest would change is no longer what the plan said; nothing was done",
            hint="look at it again: strait diff",
        )
    return plan, done


ROUTES: Final = (
    Operation(
        method="POST",
        path="/v1/manifests/plan",
        handle=plan_manifest,
        name="planManifest",
        summary="What a manifest would change, field by field; nothing is stored. Every fault is told at once.",
        tag="manifests",
        returns=ManifestPlan,
        body=Body(ManifestRequest, most=MOST_BYTES, required=True),
        query=(PROJECT,),
        raises=(ConflictError, PreconditionError),
    ),
    Operation(
        method="POST",
        path="/v1/manifests/apply",
        handle=apply_manifest,
        name="applyManifest",
        summary="Create and change what a manifest names, with `prune` delete what it names no longer: all or none.",
        tag="manifests",
        returns=ManifestPlan,
        body=Body(ManifestRequest, most=MOST_BYTES, required=True),
        query=(PROJECT,),
        raises=(ConflictError, PreconditionError),
        once=True,
    ),
)
