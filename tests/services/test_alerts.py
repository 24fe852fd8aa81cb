"""Expected successes and alerts with every part running: what a worker writes counts, what was late reaches its receiver."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from strait_core import ids
from strait_core.run import Status
from strait_core.store import schedules
from strait_core.store.jobs import StoredJob
from strait_daemon.services import placing
from tests.support.endpoint import Call, Endpoint
from tests.support.rig import Rig, eventually, running
from tests.worker.test_workflows import over, trigger, workflow

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """A rig on the test's own database."""
    async with running(migrated) as made:
        yield made


async def expecting(rig: Rig, endpoint: Endpoint, path: str = "/echo", **changes: Any) -> StoredJob:
    """A job whose schedule does not fire during the test, and of which a success is expected every hour."""
    job = await rig.job(endpoint.url(path), cron="0 0 1 1 *", expect_every_secs=3_600, **changes)
    async with rig.conn.transaction():
        await placing.place(rig.conn, job, rig.parts.clock.now(), rig.parts.new_id)
    return job


async def since(rig: Rig) -> Any:
    return (await rig.rows("SELECT since FROM strait.deadlines"))[0]["since"]


@pytest.mark.parametrize("tied", [False, True])
async def test_a_completed_run_is_a_success(rig: Rig, endpoint: Endpoint, tied: bool) -> None:
    """Whatever started it, and by the longer way too that an ending takes when another run waits for it."""
    job = await expecting(rig, endpoint)
    began = await since(rig)
    new = rig.new_run(job)
    assert await rig.parts.intake.add(new)
    if tied:
        await rig.rows("UPDATE strait.runs SET awaited = true WHERE id = %s", new.id)
    row = await rig.wait(new.id, Status.COMPLETED)
    assert began < await since(rig) == row["finished_at"]


async def test_an_unsuccessful_run_is_none(rig: Rig, endpoint: Endpoint) -> None:
    """A dead letter leaves the expectation where it was."""
    job = await expecting(rig, endpoint, "/status/500", max_attempts=1)
    began = await since(rig)
    (run_id,) = await rig.add(job)
    await rig.wait(run_id, Status.DEAD_LETTER)
    assert await since(rig) == began


async def test_an_alert_reaches_its_receiver(rig: Rig, endpoint: Endpoint) -> None:
    """Found by the running service, signed, once; the schedule names the breach."""
    secret = rig.parts.vault.seal(SECRET)
    job = await expecting(rig, endpoint, alert_webhook_url=endpoint.url("/empty/alert"), webhook_secret=secret)
    ago = timedelta(hours=1, seconds=30)
    await rig.rows("UPDATE strait.deadlines SET since = since - %s, due_at = due_at - %s", ago, ago)
    (call,) = await eventually(lambda: [call for call in endpoint.calls if call.path == "/empty/alert"])
    check_signature(call)
    found = await schedules.of_owner(rig.conn, job.id)
    assert found is not None
    assert found.last_breach is not None
    body = call.json
    assert (body["type"], body["data"]["deadline"]) == ("deadline.broken", "expect_every_secs")
    assert (body["data"]["run_id"], body["data"]["job_slug"]) == (None, job.spec.slug)
    limit = found.last_breach.limit_at
    assert body["data"]["limit_at"] == f"{limit:%Y-%m-%dT%H:%M:%S.%fZ}"


async def test_an_alert_of_a_workflow_reaches_its_receiver(rig: Rig, endpoint: Endpoint) -> None:
    """Unsigned, as a workflow has no secret; the run and the workflow are named; a run that completes is a success."""
    await rig.job(endpoint.url("/ok"))
    flow = await workflow(
        rig,
        {"step_ref": "a"},
        slug="flow",
        cron="0 0 1 1 *",
        expect_every_secs=3_600,
        alert_webhook_url=endpoint.url("/empty/flow"),
    )
    async with rig.conn.transaction():
        await placing.place(rig.conn, flow, rig.parts.clock.now(), rig.parts.new_id)
    began = await since(rig)
    row = await over(rig, await trigger(rig, flow))
    assert began < await since(rig) == row["finished_at"]
    ago = timedelta(hours=1, seconds=30)
    await rig.rows("UPDATE strait.deadlines SET since = since - %s, due_at = due_at - %s", ago, ago)
    (call,) = await eventually(lambda: [call for call in endpoint.calls if call.path == "/empty/flow"])
    assert "webhook-signature" not in call.headers
    told = call.json["data"]
    assert (told["workflow_slug"], told["workflow_id"]) == ("flow", ids.spell(ids.Prefix.WORKFLOW, flow.id))
    assert (told["job_id"], told["deadline"]) == (None, "expect_every_secs")


def check_signature(call: Call) -> None:
    """What a receiver does with the headers."""
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-signature"] == f"v1,{wanted}"
