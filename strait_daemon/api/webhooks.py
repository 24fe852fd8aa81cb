"""Webhooks: what was delivered and what was not, once more, and a test of the way."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from strait_core import ids, wire
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.store import webhooks
from strait_core.store.idempotency import Scope
from strait_core.store.owners import Kind
from strait_core.store.pool import Conn
from strait_core.store.webhooks import Delivery
from strait_core.wire.webhooks import WebhookDelivery, WebhookTest
from strait_daemon.api import query
from strait_daemon.api.body import Body, Nothing
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.lookup import find_job, find_job_ids
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PAGING, PROJECT, id_param, id_prefix_param, text_param

STATES: Final = ("pending", "delivered", "dead")


def _shaped(found: Delivery) -> WebhookDelivery:
    is_flow = found.kind == Kind.WORKFLOW
    prefix = ids.Prefix.WORKFLOW_RUN if is_flow else ids.Prefix.RUN
    return WebhookDelivery(
        id=ids.spell(ids.Prefix.WEBHOOK, found.id),
        project_id=found.project_id,
        job_id=None if is_flow else ids.spell(ids.Prefix.JOB, found.owner_id),
        job_slug=None if is_flow else found.slug,
        workflow_id=ids.spell(ids.Prefix.WORKFLOW, found.owner_id) if is_flow else None,
        workflow_slug=found.slug if is_flow else None,
        run_id=None if found.run_id is None else ids.spell(prefix, found.run_id),
        type=found.type,
        status=found.status,
        attempts=found.attempts,
        created_at=found.created_at,
        next_attempt_at=found.due_at,
        delivered_at=found.delivered_at,
        http_status=found.http_status,
        error=found.error,
    )


async def list_deliveries(api: Api, call: Call) -> Reply:
    """GET /v1/webhooks/deliveries."""
    asked = call.query
    status = asked.get("status")
    if status is not None and status not in STATES:
        raise query.wrong_request(f"?status= must be one of {', '.join(STATES)}")
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        jobs = await find_job_ids(conn, asked["job_id"], call.project) if "job_id" in asked else None
        found = await webhooks.deliveries(
            conn,
            call.project,
            limit=limit + 1,
            before=query.before_id(asked),
            status=status,
            jobs=jobs,
            run=asked.get("run_id"),
            id_range=asked.get("id_prefix"),
        )
    page, cursor = query.cut(found, limit, lambda one: query.id_cursor(one.id))
    return reply(wire.Page(data=[_shaped(one) for one in page], next_cursor=cursor))


async def retry_delivery(api: Api, call: Call) -> Reply:
    """POST /v1/webhooks/deliveries/{delivery}/retry."""
    ref = call.path["delivery"]
    delivery_id = ids.parse(ids.Prefix.WEBHOOK, ref)
    async with api.connection() as conn, conn.transaction():
        if delivery_id is None or await webhooks.delivery(conn, delivery_id, call.project) is None:
            raise NotFoundError(
                f"there is no delivery {ref[:128]!r}",
                hint="see GET /v1/webhooks/deliveries, or `strait webhooks deliveries`",
            )
        if not await webhooks.retry_if_over(conn, delivery_id, api.deps.clock.now()):
            raise ConflictError(f"delivery {ref!r} is not over yet", hint="it is tried again by itself")
        return await _told(conn, delivery_id, 200)


async def _told(conn: Conn, delivery_id: UUID, status: int) -> Reply:
    found = await webhooks.delivery(conn, delivery_id, None)
    assert found is not None
    return reply(_shaped(found), status)


async def test_webhook(api: Api, call: Call) -> Reply:
    """POST /v1/webhooks/test."""
    body: WebhookTest = call.body
    async with api.connection() as conn:
        job = await find_job(conn, body.job_id, call.project)
    if job.spec.webhook_url is None:
        said = f"job {job.spec.slug!r} has no webhook_url"
        raise ValidationError([Fault("/job_id", said)], said, hint="set one: PATCH /v1/jobs/{job}")

    async def work(conn: Conn) -> Reply:
        made = await webhooks.insert_test(conn, job.id, job.spec.project_id, api.deps.clock.now())
        return await _told(conn, made, 201)

    return await answered_once(api, call, Scope(job.spec.project_id, "testWebhook"), work)


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/webhooks/deliveries",
        handle=list_deliveries,
        name="listWebhookDeliveries",
        summary="List deliveries of webhooks, the newest first.",
        tag="webhooks",
        returns=wire.Page[WebhookDelivery],
        query=(
            PROJECT,
            *PAGING,
            text_param("status", f"One of {', '.join(STATES)}."),
            text_param("job_id", "The job: its id or its slug."),
            id_param("run_id", ids.Prefix.RUN, "The run that ended."),
            id_prefix_param(ids.Prefix.WEBHOOK),
        ),
        raises=(NotFoundError,),
    ),
    Operation(
        method="POST",
        path="/v1/webhooks/deliveries/{delivery}/retry",
        handle=retry_delivery,
        name="retryWebhookDelivery",
        summary="Deliver once more what is delivered or dead, with all its attempts.",
        tag="webhooks",
        returns=WebhookDelivery,
        body=Body(Nothing),
        query=(PROJECT,),
        raises=(NotFoundError, ConflictError),
    ),
    Operation(
        method="POST",
        path="/v1/webhooks/test",
        handle=test_webhook,
        name="testWebhook",
        summary="Send a `webhook.test` to a job's webhook.",
        tag="webhooks",
        status=201,
        returns=WebhookDelivery,
        body=Body(WebhookTest, required=True),
        query=(PROJECT,),
        raises=(NotFoundError, ConflictError),
        once=True,
    ),
)
