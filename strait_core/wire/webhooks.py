"""What travels over HTTP about deliveries of webhooks."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from strait_core.wire.bodies import Request


class WebhookTest(Request):
    """POST /v1/webhooks/test: the job by its id or slug."""

    job_id: str


class WebhookDelivery(Struct, kw_only=True):
    """One delivery of a webhook: pending, delivered or dead; `error` is that of the last attempt."""

    id: str
    project_id: str
    # One of the two: whose it is.
    job_id: str | None
    job_slug: str | None
    workflow_id: str | None
    workflow_slug: str | None
    run_id: str | None
    type: str
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    http_status: int | None
    error: str | None
