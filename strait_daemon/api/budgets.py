"""Budgets: /v1/budgets/{project}, and what runs report as spent."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from strait_core.budget import Budget, day_of
from strait_core.errors import BudgetError, ConflictError, Fault, ValidationError
from strait_core.job import check_project
from strait_core.run import Outcome, OutcomeKind
from strait_core.store import budgets, callbacks
from strait_core.store.budgets import Used
from strait_core.wallclock import zone_faults
from strait_core.wire import sdk as wire_sdk
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import wrong_request
from strait_daemon.api.speaker import silenced, speaker_of
from strait_daemon.attempts.outcome import Ending

BUDGET: Final = "budget"
UTC_NAME: Final = "UTC"
# Nothing of a run that is over its budget works later; the number is there for clients that want one.
RETRY_SECS: Final = 60.0


def _project(call: Call) -> str:
    project = call.path["project"]
    if check_project(project):
        raise wrong_request(f"the path names no project: {check_project(project)[0].message}")
    return project


async def get_budget(api: Api, call: Call) -> Reply:
    """GET /v1/budgets/{project}."""
    project, now = _project(call), api.deps.clock.now()
    async with api.connection() as conn:
        found = await budgets.budget(conn, project)
        zone = found.timezone if found is not None else UTC_NAME
        day = day_of(now, zone)
        spent = await budgets.spent(conn, project, day)
    return reply(
        wire_sdk.BudgetState(
            project_id=project,
            daily_microusd=None if found is None else found.daily_microusd,
            timezone=zone,
            spent_microusd=spent,
            resets_at=day.until,
        )
    )


async def put_budget(api: Api, call: Call) -> Reply:
    """PUT /v1/budgets/{project}: null lifts it."""
    body: wire_sdk.BudgetPut = call.body
    project = _project(call)
    zone = UTC_NAME if body.timezone is UNSET else body.timezone
    faults = zone_faults(zone, "/timezone")
    if body.daily_microusd is not None and not 0 <= body.daily_microusd <= wire_sdk.MAX_BUDGET:
        faults.append(Fault("/daily_microusd", f"must be from 0 to {wire_sdk.MAX_BUDGET}"))
    if faults:
        raise ValidationError(faults)
    wanted = None if body.daily_microusd is None else Budget(body.daily_microusd, zone)
    async with api.connection() as conn:
        await budgets.put_budget(conn, project, wanted, api.deps.clock.now())
    api.purses.pop(project, None)
    api.jobs.forget()
    return await get_budget(api, call)


async def report_usage(api: Api, call: Call) -> Reply:
    """POST usage: a report counts even when it is the one that goes over; the run has failed then."""
    body: wire_sdk.UsageReport = call.body
    faults = wire_sdk.faults_of_usage(body)
    if faults:
        raise ValidationError(faults)
    speaker, deps = speaker_of(call), api.deps
    used = Used(body.provider, body.model, body.prompt_tokens, body.completion_tokens, body.cost_microusd)
    async with api.connection() as conn:
        live = await callbacks.live(conn, speaker)
        target = None if live is None else await deps.ender.target(conn, live)
        cost = await budgets.report(conn, speaker, used, wire_sdk.MAX_MODELS, deps.clock.now())
        if cost is None and await callbacks.live(conn, speaker) is not None:
            raise ConflictError(
                f"a run keeps the usage of at most {wire_sdk.MAX_MODELS} models apart", hint="sum some of them up"
            )
        if live is None or target is None or cost is None:
            raise await silenced(conn, speaker)
    most = target.spec.max_cost_per_run_microusd
    if most is None or cost <= most:
        return reply(wire_sdk.Spent(cost_microusd=cost, max_cost_per_run_microusd=most))
    said = f"budget: the run has spent {cost} of {most} micro-USD"
    if await deps.ender.end(
        live, target, Ending(Outcome(OutcomeKind.ERROR, final=True), error_class=BUDGET, error=said)
    ):
        deps.bus.runs_taken([speaker.run_id])
    raise BudgetError(said, hint="stop working on it", retry_after=RETRY_SECS)


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/budgets/{project}",
        handle=get_budget,
        name="getBudget",
        summary="Read what a project may spend in a day, and what it has spent today. Null: it has no budget.",
        tag="budgets",
        returns=wire_sdk.BudgetState,
    ),
    Operation(
        method="PUT",
        path="/v1/budgets/{project}",
        handle=put_budget,
        name="putBudget",
        summary=(
            "Say what a project may spend in a day of its zone; null lifts it. A trigger after that is refused until"
            " the day turns there; what runs already goes on."
        ),
        tag="budgets",
        returns=wire_sdk.BudgetState,
        body=Body(wire_sdk.BudgetPut, required=True),
    ),
)
