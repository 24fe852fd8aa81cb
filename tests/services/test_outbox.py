"""The outbox: one delivery for each ending, signed, tried again for a day, kept when it is dead."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from strait_core import ids
from strait_core.address import CLOSED, Openings
from strait_core.run import Status
from strait_core.store import runs, webhooks
from strait_core.store.queue import Finish
from strait_daemon.api import shape
from strait_daemon.egress.client import EgressClient
from strait_daemon.egress.guard import Guard
from strait_daemon.services.outbox import DELAYS_SECS, LEASE, MOST_ATTEMPTS, Outbox
from strait_daemon.vault import Vault
from tests.support.clock import VirtualClock
from tests.support.endpoint import Call, Endpoint
from tests.support.rig import Rig, eventually, running

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """A rig on the test's own database."""
    async with running(migrated) as made:
        yield made


def hooks(endpoint: Endpoint, path: str = "/empty") -> list[Call]:
    """The webhooks that reached the endpoint: requests of a path without a run's id in the headers."""
    return [call for call in endpoint.calls if "X-Run-ID" not in call.headers and call.path.startswith(path)]


async def rows(rig: Rig) -> list[dict[str, Any]]:
    """The outbox as it stands."""
    return await rig.rows("SELECT * FROM strait.webhook_deliveries ORDER BY id")


async def delivered(rig: Rig, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many deliveries are over."""

    async def over() -> list[dict[str, Any]] | None:
        found = await rows(rig)
        return found if len(found) == count and all(row["status"] == "delivered" for row in found) else None

    found: list[dict[str, Any]] = await eventually(over)
    return found


def verify(call: Call) -> None:
    """What a receiver does with the headers."""
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-signature"] == f"v1,{wanted}"


async def test_a_completed_run_is_told(rig: Rig, endpoint: Endpoint):
    """The type, the time and the whole run as the API shows it; signed; the run's own request is another one."""
    sealed = rig.parts.vault.seal(SECRET)
    url = endpoint.url("/empty/hook")
    job = await rig.job(endpoint.url("/echo"), webhook_url=url, webhook_secret=sealed)
    new = rig.new_run(job, '{"a":  1.50, "text": "\\u0000 \u00e9"}', tags={"t": "1"})
    assert await rig.parts.intake.add(new)
    row = await rig.wait(new.id, Status.COMPLETED)
    (delivery,) = await delivered(rig)
    (call,) = hooks(endpoint)
    verify(call)
    assert call.headers["webhook-id"] == ids.spell(ids.Prefix.WEBHOOK, delivery["id"])
    assert call.headers["Content-Type"] == "application/json"
    body = call.json
    assert (body["type"], list(body)) == ("run.completed", ["type", "timestamp", "data"])
    shown = json.loads(msgspec.json.encode(shape.run(row)))
    assert body["data"] == shown
    assert body["timestamp"] == shown["finished_at"]
    assert (delivery["attempts"], delivery["http_status"], delivery["error"]) == (1, 204, None)


@pytest.mark.parametrize(
    ("path", "changes", "status"),
    [
        ("/status/500", {"max_attempts": 1}, Status.DEAD_LETTER),
        ("/status/400", {"non_retryable_statuses": (400,)}, Status.FAILED),
        ("/hang", {"max_attempts": 1, "timeout_secs": 1}, Status.TIMED_OUT),
    ],
)
async def test_every_ending_of_an_attempt_is_told(
    rig: Rig, endpoint: Endpoint, path: str, changes: dict[str, Any], status: Status
):
    """The type names the state; a retry on the way tells nothing."""
    job = await rig.job(endpoint.url(path), webhook_url=endpoint.url("/empty/hook"), **changes)
    (run_id,) = await rig.add(job)
    await rig.wait(run_id, status)
    await delivered(rig)
    (call,) = hooks(endpoint)
    assert (call.json["type"], call.json["data"]["status"]) == (f"run.{status}", status)
    assert call.json["data"]["error"]
    assert "webhook-signature" not in call.headers


async def test_a_run_that_is_ended_from_outside_is_told(rig: Rig, endpoint: Endpoint):
    """Canceled and expired runs never had an attempt; their webhooks come all the same."""
    url = endpoint.url("/empty/hook")
    job = await rig.job(endpoint.url(), webhook_url=url)
    later = datetime.now(UTC) + timedelta(hours=1)
    (first,) = await rig.add(job, scheduled_at=later)
    assert await rig.cancel(first)
    (second,) = await rig.add(job, scheduled_at=later, ttl_secs=3_600)
    await rig.rows("UPDATE strait.runs SET expires_at = now() - interval '1 s' WHERE id = %s", second)
    await rig.wait(second, Status.EXPIRED)
    await delivered(rig, 2)
    assert {call.json["type"] for call in hooks(endpoint)} == {"run.canceled", "run.expired"}
    assert {call.json["data"]["id"] for call in hooks(endpoint)} == {
        ids.spell(ids.Prefix.RUN, one) for one in (first, second)
    }


async def test_a_replayed_run_is_told_again(rig: Rig, endpoint: Endpoint):
    """Each ending has its own delivery, with the run as it was then."""
    job = await rig.job(endpoint.url("/flaky/1"), webhook_url=endpoint.url("/empty/hook"), max_attempts=1)
    (run_id,) = await rig.add(job)
    await rig.wait(run_id, Status.DEAD_LETTER)
    async with rig.conn.transaction():
        assert await runs.replay(rig.conn, run_id, rig.parts.clock.now())
    await rig.wait(run_id, Status.COMPLETED)
    await delivered(rig, 2)
    told = [(call.json["type"], call.json["data"]["attempt"]) for call in hooks(endpoint)]
    assert sorted(told) == [("run.completed", 2), ("run.dead_letter", 1)]


async def test_without_a_webhook_nothing_is_written(rig: Rig, endpoint: Endpoint):
    """Completed, failed and canceled runs of a job without one leave the outbox empty."""
    job = await rig.job(endpoint.url())
    (run_id,) = await rig.add(job)
    await rig.wait(run_id)
    bad = await rig.job(endpoint.url("/status/500"), slug="bad", max_attempts=1)
    (run_id,) = await rig.add(bad)
    await rig.wait(run_id)
    assert await rows(rig) == []


async def test_an_ending_that_comes_too_late_tells_nothing(rig: Rig, endpoint: Endpoint):
    """The delivery is part of the ending's own statement: no ending, no delivery."""
    job = await rig.job(endpoint.url("/hold"), webhook_url=endpoint.url("/empty/hook"))
    (run_id,) = await rig.add(job)
    await eventually(lambda: endpoint.calls)
    now = rig.parts.clock.now()
    late = Finish(
        id=run_id,
        attempt=1,
        lease=-1,
        status=Status.COMPLETED,
        keep="short",
        finished_at=now,
        hook=webhooks.new_hook(now),
    )
    assert await rig.parts.writer.write(late) is False
    assert await rows(rig) == []
    assert await rig.cancel(run_id)
    (row,) = await delivered(rig)
    assert row["type"] == "run.canceled"


@asynccontextmanager
async def outbox(rig: Rig, openings: Openings, clock: VirtualClock) -> AsyncIterator[Outbox]:
    """An outbox of the test's own, on a virtual clock."""
    guard = Guard(openings)
    client = EgressClient(guard)
    try:
        yield Outbox(
            rig.parts.pool, clock, client, guard, Vault(["k" * 32]), agent="test", shape=shape.run, kept_days=(30, 90)
        )
    finally:
        await client.close()


@asynccontextmanager
async def quiet(migrated: str) -> AsyncIterator[Rig]:
    """Parts whose own outbox is not running."""
    async with running(migrated) as rig:
        for service in rig.parts.services:
            if service.name == "outbox":
                await service.stop()
        yield rig


async def one_delivery(rig: Rig, url: str, clock: VirtualClock) -> UUID:
    """A test delivery that is due."""
    job = await rig.job("http://127.0.0.1:9/", webhook_url=url)
    return await webhooks.insert_test(rig.conn, job.id, job.spec.project_id, clock.now())


async def test_eight_attempts_over_a_day_then_dead_then_again(migrated: str, endpoint: Endpoint):
    """Each delay is kept, the eighth failure ends it; started again it has all its attempts."""
    assert timedelta(hours=20) < timedelta(seconds=sum(DELAYS_SECS)) < timedelta(hours=28)
    clock = VirtualClock()
    async with quiet(migrated) as rig, outbox(rig, Openings(private=True), clock) as box:
        delivery = await one_delivery(rig, endpoint.url("/status/503"), clock)
        for attempt, delay in enumerate((*DELAYS_SECS, None), 1):
            await box.tick()
            (row,) = await rows(rig)
            assert (row["attempts"], row["http_status"], row["error"]) == (attempt, 503, "HTTP 503")
            if delay is None:
                assert (row["status"], row["due_at"]) == ("dead", None)
                break
            assert (row["status"], row["due_at"]) == ("pending", clock.now() + timedelta(seconds=delay))
            clock.at += timedelta(seconds=delay - 1)
            await box.tick()
            assert len(endpoint.calls) == attempt
            clock.at += timedelta(seconds=1)
        assert len(endpoint.calls) == MOST_ATTEMPTS == 8
        assert len({(call.headers["webhook-id"], call.body) for call in endpoint.calls}) == 1
        assert not await webhooks.retry_if_over(rig.conn, webhooks.new_hook(clock.now()), clock.now())
        assert await webhooks.retry_if_over(rig.conn, delivery, clock.now())
        assert not await webhooks.retry_if_over(rig.conn, delivery, clock.now())
        await box.tick()
        (row,) = await rows(rig)
        assert (row["status"], row["attempts"]) == ("pending", 1)


async def test_who_dies_over_a_delivery_leaves_it_to_the_next(migrated: str, endpoint: Endpoint):
    """A delivery that was taken and never settled is tried again after its lease; the late answer changes nothing."""
    clock = VirtualClock()
    async with quiet(migrated) as rig, outbox(rig, Openings(private=True), clock) as box:
        await one_delivery(rig, endpoint.url("/empty"), clock)
        (taken,) = await webhooks.take_due(rig.conn, 10, clock.now(), clock.now() + LEASE)
        await box.tick()
        assert endpoint.calls == []
        clock.at += LEASE
        await box.tick()
        (row,) = await rows(rig)
        assert (row["status"], row["attempts"], len(endpoint.calls)) == ("delivered", 2, 1)
        late: dict[str, Any] = {"status": "dead", "due_at": None, "http_status": 500, "error": "late"}
        assert not await webhooks.settle_if_taken(rig.conn, taken, clock.now(), **late)


async def test_two_outboxes_deliver_each_once(migrated: str, endpoint: Endpoint):
    """What one has taken the other does not see."""
    clock = VirtualClock()
    async with (
        quiet(migrated) as rig,
        outbox(rig, Openings(private=True), clock) as one,
        outbox(rig, Openings(private=True), clock) as other,
    ):
        job = await rig.job("http://127.0.0.1:9/", webhook_url=endpoint.url("/empty"))
        for _ in range(50):
            await webhooks.insert_test(rig.conn, job.id, job.spec.project_id, clock.now())
        while 0.0 in await asyncio.gather(one.tick(), other.tick()):
            pass
        await asyncio.gather(one.tick(), other.tick())
        assert len({call.headers["webhook-id"] for call in endpoint.calls}) == len(endpoint.calls) == 50
        assert {row["status"] for row in await rows(rig)} == {"delivered"}


async def test_a_webhook_to_a_private_address_is_dead_at_once(migrated: str, endpoint: Endpoint):
    """The guard stands before webhooks too, and there is no point in trying again."""
    clock = VirtualClock()
    async with quiet(migrated) as rig, outbox(rig, CLOSED, clock) as box:
        await one_delivery(rig, endpoint.url("/empty"), clock)
        await box.tick()
        (row,) = await rows(rig)
        assert (row["status"], row["attempts"]) == ("dead", 1)
        assert row["error"].startswith("ssrf error: ")
        assert endpoint.calls == []


@pytest.mark.parametrize(
    ("path", "error"), [("/reset", "connection error: "), ("/redirect", "HTTP 302"), ("/garbage", "")]
)
async def test_a_receiver_that_fails_is_tried_again(migrated: str, endpoint: Endpoint, path: str, error: str):
    """Whatever it does, the delivery waits for its next attempt."""
    clock = VirtualClock()
    async with quiet(migrated) as rig, outbox(rig, Openings(private=True), clock) as box:
        await one_delivery(rig, endpoint.url(path), clock)
        await box.tick()
        (row,) = await rows(rig)
        assert (row["status"], row["attempts"]) == ("pending", 1)
        assert row["error"].startswith(error)


async def test_one_that_cannot_be_sent_keeps_no_other(migrated: str, endpoint: Endpoint):
    """A delivery of which no request can be made fails by itself, waits for its next attempt, and dies like any."""
    clock = VirtualClock()
    async with quiet(migrated) as rig, outbox(rig, Openings(private=True), clock) as box:
        bad = await one_delivery(rig, endpoint.url("/empty"), clock)
        job = await rig.job("http://127.0.0.1:9/", "good", webhook_url=endpoint.url("/empty"))
        good = await webhooks.insert_test(rig.conn, job.id, job.spec.project_id, clock.now())
        await rig.rows('UPDATE strait.webhook_deliveries SET run = \'{"created_at": "never"}\' WHERE id = %s', bad)
        await box.tick()
        found = {row["id"]: (row["status"], row["error"]) for row in await rows(rig)}
        assert found == {bad: ("pending", "system: ValueError"), good: ("delivered", None)}


async def test_old_deliveries_are_forgotten(migrated: str, endpoint: Endpoint):
    """Delivered ones a short retention after that, dead ones after the long one, pending ones never."""
    clock = VirtualClock()
    async with quiet(migrated) as rig, outbox(rig, Openings(private=True), clock) as box:
        job = await rig.job("http://127.0.0.1:9/", webhook_url=endpoint.url("/status/500"))
        old = [
            (31, 31, "delivered"),
            (29, 29, "delivered"),
            (60, 1, "delivered"),
            (91, None, "dead"),
            (89, None, "dead"),
        ]
        for age, delivered, state in old:
            hook = await webhooks.insert_test(rig.conn, job.id, "p", clock.now() - timedelta(days=age))
            await rig.rows(
                "UPDATE strait.webhook_deliveries SET status = %s, due_at = NULL, delivered_at = %s WHERE id = %s",
                state,
                None if delivered is None else clock.now() - timedelta(days=delivered),
                hook,
            )
        await webhooks.insert_test(rig.conn, job.id, "p", clock.now() - timedelta(days=400))
        await box.tick()
        left = [(row["status"], (clock.now() - row["created_at"]).days) for row in await rows(rig)]
        assert sorted(left) == [("dead", 89), ("delivered", 29), ("delivered", 60), ("pending", 400)]
