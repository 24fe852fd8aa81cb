"""Steps of workflow runs and approvals over HTTP: read, explained, decided."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import UNSET, Raw, UnsetType

from strait_core import ids, wire
from strait_core.errors import NotFoundError, ValidationError
from strait_core.ids import Prefix, spell
from strait_core.store import workflow_decisions, workflow_views
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_rows import Row
from strait_core.store.workflow_views import StepView
from strait_core.wire import workflow_runs as wire_flows
from strait_core.workflow.snapshot import Snapshot
from strait_daemon.api import query
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.workflow_runs import moved, run_row, workflow_run_id

# Who decides when nobody says it: whoever has the server's secret.
NOBODY: Final = "internal"
_MOST_ACTOR: Final = 256


def _shaped(snapshot: Snapshot, view: StepView, *, whole: bool) -> wire_flows.StepRun:
    step, row = snapshot.steps[view.at], view.row or {}
    output: str | None = row.get("output")
    return wire_flows.StepRun(
        step_ref=step.step_ref,
        step_type=step.step_type,
        status=view.status,
        output=(None if output is None else Raw(output.encode())) if whole else UNSET,
        error=row.get("error"),
        error_class=row.get("error_class"),
        attempt=row.get("attempt") or 0,
        job_run_id=_spelled(Prefix.RUN, row.get("job_run_id")),
        workflow_run_id=_spelled(Prefix.WORKFLOW_RUN, row.get("child_run_id")),
        compensated_by=_spelled(Prefix.RUN, view.undone_by),
        depends_on=list(step.depends_on),
        reason=row.get("reason"),
        due_at=row.get("due_at"),
        started_at=row.get("started_at"),
        finished_at=row.get("finished_at"),
    )


def _spelled(prefix: Prefix, one: UUID | None) -> str | None:
    return None if one is None else spell(prefix, one)


async def list_steps(api: Api, call: Call) -> Reply:
    """GET /v1/workflow-runs/{run}/steps: in the order of the definition."""
    whole = "output" in call.query.get("include", ())
    limit = query.limit_of(call.query)
    if whole and limit > query.MOST_WITH_BODIES:
        raise query.wrong_request(f"?limit= must be at most {query.MOST_WITH_BODIES} with ?include=output")
    after = query.after_number(call.query)
    async with api.connection() as conn:
        row = await run_row(conn, call, workflow_run_id(call))
        snapshot, views = await workflow_views.view_steps(conn, row)
    rest = [view for view in views if after is None or view.at > after]
    page, cursor = query.cut(rest, limit, lambda view: query.number_cursor(view.at))
    return reply(wire.Page(data=[_shaped(snapshot, view, whole=whole) for view in page], next_cursor=cursor))


async def get_step(api: Api, call: Call) -> Reply:
    """GET /v1/workflow-runs/{run}/steps/{ref}: whole."""
    async with api.connection() as conn:
        row = await run_row(conn, call, workflow_run_id(call))
        snapshot, views = await workflow_views.view_steps(conn, row)
    at = snapshot.index.get(call.path["ref"])
    if at is None:
        raise NotFoundError(f"the workflow run has no step {call.path['ref'][:64]!r}")
    return reply(_shaped(snapshot, views[at], whole=True))


# ── moves of a step ───────────────────────────────────────────────────────────────────────────────────────────────────


async def retry_step(api: Api, call: Call) -> Reply:
    """POST steps/{ref}/retry."""
    return await _begun_anew(api, call, subtree=False)


async def replay_subtree(api: Api, call: Call) -> Reply:
    """POST steps/{ref}/replay-subtree."""
    return await _begun_anew(api, call, subtree=True)


async def _begun_anew(api: Api, call: Call, *, subtree: bool) -> Reply:
    async def act(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
        await workflow_decisions.retry(conn, run_id, call.path["ref"], now, brought, subtree=subtree)

    return await moved(api, call, act)


async def skip_step(api: Api, call: Call) -> Reply:
    """POST steps/{ref}/skip."""
    reason = _text("/reason", call.body.reason)

    async def act(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
        await workflow_decisions.skip(conn, run_id, call.path["ref"], reason, now, brought)

    return await moved(api, call, act)


async def force_complete(api: Api, call: Call) -> Reply:
    """POST steps/{ref}/force-complete."""
    body: wire_flows.StepResult = call.body
    output = None if body.output is UNSET else bytes(body.output).decode()

    async def act(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
        await workflow_decisions.force_complete(conn, run_id, call.path["ref"], output, now, brought)

    return await moved(api, call, act)


async def approve_step(api: Api, call: Call) -> Reply:
    """POST steps/{ref}/approve."""
    return await _decided(api, call, approved=True)


async def reject_step(api: Api, call: Call) -> Reply:
    """POST steps/{ref}/reject."""
    return await _decided(api, call, approved=False)


async def _decided(api: Api, call: Call, *, approved: bool) -> Reply:
    comment, actor = _text("/comment", call.body.comment), actor_of(call)

    async def act(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
        await workflow_decisions.decide(
            conn, run_id, call.path["ref"], now, brought, approved=approved, actor=actor, comment=comment
        )

    return await moved(api, call, act)


def actor_of(call: Call) -> str:
    """Who decides: the header X-Actor, which only the bearer of the server's secret can send."""
    named = call.headers.get(b"x-actor")
    if named is None:
        return NOBODY
    try:
        actor = named.decode().strip()
    except UnicodeDecodeError:
        actor = ""
    if not 1 <= len(actor) <= _MOST_ACTOR or not actor.isprintable():
        raise query.wrong_request(f"the header X-Actor must be 1 to {_MOST_ACTOR} printable characters")
    return actor


def _text(pointer: str, text: str | UnsetType | None) -> str | None:
    if faults := wire_flows.faults_of_text(pointer, text):
        raise ValidationError(faults)
    return text or None


# ── approvals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _approval(row: Row) -> wire_flows.Approval:
    same = ("step_ref", "project_id", "status", "approvers", "created_at", "expires_at", "decided_at", "decided_by")
    return wire_flows.Approval(
        id=spell(Prefix.APPROVAL, row["id"]),
        workflow_run_id=spell(Prefix.WORKFLOW_RUN, row["workflow_run_id"]),
        workflow_id=spell(Prefix.WORKFLOW, row["workflow_id"]),
        comment=row["comment"],
        **{name: row[name] for name in same},
    )


async def list_approvals(api: Api, call: Call) -> Reply:
    """GET /v1/approvals."""
    limit, before = query.limit_of(call.query), query.before_id(call.query)
    status: str | None = call.query.get("status")
    if status is not None and status not in APPROVAL_STATES:
        raise query.wrong_request(f"?status= must be one of {', '.join(APPROVAL_STATES)}")
    async with api.connection() as conn:
        found = await workflow_views.list_approvals(
            conn,
            call.project,
            status=status,
            limit=limit + 1,
            before=before,
            id_range=call.query.get("id_prefix"),
        )
    page, cursor = query.cut(found, limit, lambda row: query.id_cursor(row["id"]))
    return reply(wire.Page(data=[_approval(row) for row in page], next_cursor=cursor))


APPROVAL_STATES: Final = ("pending", "approved", "rejected", "expired", "canceled")


async def _asked(conn: Conn, call: Call) -> Row:
    ref = call.path["approval"]
    approval_id = ids.parse(Prefix.APPROVAL, ref)
    row = None if approval_id is None else await workflow_views.approval(conn, approval_id)
    if row is None or call.project not in {None, row["project_id"]}:
        raise NotFoundError(f"there is no approval {ref[:128]!r}", hint="see `strait approvals list`")
    return row


async def approve(api: Api, call: Call) -> Reply:
    """POST /v1/approvals/{approval}/approve."""
    return await _answered(api, call, approved=True)


async def reject(api: Api, call: Call) -> Reply:
    """POST /v1/approvals/{approval}/reject."""
    return await _answered(api, call, approved=False)


async def _answered(api: Api, call: Call, *, approved: bool) -> Reply:
    async with api.connection() as conn:
        asked = await _asked(conn, call)
    call.path["run"] = spell(Prefix.WORKFLOW_RUN, asked["workflow_run_id"])
    call.path["ref"] = asked["step_ref"]
    await _decided(api, call, approved=approved)
    async with api.connection() as conn:
        return reply(_approval(await _asked(conn, call)))


def _include(text: str) -> str:
    if text != "output":
        raise query.wrong_request("?include= must be output")
    return text


INCLUDE: Final = query.Param(
    "include",
    _include,
    f"`output`: the steps' outputs too; `limit` is then at most {query.MOST_WITH_BODIES}.",
    {"type": "string"},
    many=True,
)
