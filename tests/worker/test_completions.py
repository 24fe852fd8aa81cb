"""Completion triggers on the real parts: what an ending starts, exactly once, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from strait_core import ids
from strait_core.budget import Budget
from strait_core.completion import MAX_CHAIN
from strait_core.run import Event, Status
from strait_core.store import budgets, claims, jobs, queue, runs
from strait_core.store.claims import Claimed
from strait_core.store.queue import Finish, Start
from strait_daemon.services.reaper import lost_move
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually, proxied, running


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """A rig on the test's own database."""
    async with running(migrated) as made:
        yield made


@pytest_asyncio.fixture
async def idle(migrated: str) -> AsyncIterator[Rig]:
    """A rig without a worker: the test claims by hand."""
    async with running(migrated, MODE="api") as made:
        yield made


async def children(rig: Rig, run_id: UUID) -> list[dict[str, Any]]:
    """The runs that a run has started, in order."""
    return await rig.rows("SELECT * FROM strait.all_runs WHERE parent_run_id = %s ORDER BY id", run_id)


async def held(rig: Rig, run_id: UUID) -> Claimed:
    """Claim and start that run, the only one that is ready."""
    now = rig.parts.clock.now()
    taken = await claims.claim(rig.conn, UUID(int=7), 1, [0] * len(claims.PRIORITIES), [], now)
    (claimed,) = taken.runs
    assert claimed.id == run_id
    assert await queue.start_if_held(rig.conn, [Start(claimed.id, claimed.attempt, claimed.lease)], now)
    return claimed._replace(attempt=claimed.attempt + 1)


def ending(rig: Rig, live: Claimed, status: Status) -> Finish:
    """The end of an attempt whose run may start another."""
    now = rig.parts.clock.now()
    return Finish(
        id=live.id, attempt=live.attempt, lease=live.lease, status=status, keep="short", finished_at=now, follow=True
    )


async def test_a_completed_run_starts_the_next(rig: Rig, endpoint: Endpoint) -> None:
    """With the mapped payload, which reaches the endpoint; the new run says where it comes from."""
    await rig.job(endpoint.url("/echo"), "next", priority=3, tags={"a": "b"})
    mapping = {"who": "{{payload.user.id}}", "text": "run {{run.id}} of {{run.job_slug}}", "n": "{{result.n}}"}
    first = await rig.job(
        endpoint.url("/echo"), "first", on_complete_trigger_job="next", on_complete_payload_mapping=mapping
    )
    (run_id,) = await rig.add(first, payload='{"user": {"id": 7.50}}')
    await rig.wait(run_id)
    (child,) = await children(rig, run_id)
    done = await rig.wait(child["id"])
    spelled = ids.spell(ids.Prefix.RUN, run_id)
    assert done["payload"] == f'{{"who":7.50,"text":"run {spelled} of first","n":null}}'
    assert (done["triggered_by"], done["lineage_depth"], done["priority"], done["tags"]) == (
        "completion", 1, 3, {"a": "b"},
    )  # fmt: skip
    assert done["warnings"] == ["{{result.n}} of the payload mapping led nowhere"]
    assert json.loads(done["result"])["who"] == 7.5
    await rig.check()


async def test_without_a_mapping_the_result_goes_on(rig: Rig, endpoint: Endpoint) -> None:
    """As it is; a large one too, made beside the event loop."""
    await rig.job(endpoint.url("/ok"), "next")
    first = await rig.job(endpoint.url("/echo"), "first", on_complete_trigger_job="next")
    for payload in ('{"a": 1.0}', json.dumps(["x" * 200_000])):
        (run_id,) = await rig.add(first, payload=payload)
        await rig.wait(run_id)
        (child,) = await children(rig, run_id)
        assert child["payload"] == payload
        assert child["warnings"] is None


@pytest.mark.parametrize(
    ("path", "status", "more"),
    [
        ("/status/500", Status.DEAD_LETTER, {"max_attempts": 1}),
        ("/final", Status.FAILED, {}),
        ("/hang", Status.TIMED_OUT, {"max_attempts": 1, "timeout_secs": 1}),
    ],
)
async def test_a_failure_starts_its_own_job(
    rig: Rig, endpoint: Endpoint, path: str, status: Status, more: dict[str, Any]
) -> None:
    """It is told what failed; the job for completions is not started."""
    for slug in ("good", "bad"):
        await rig.job(endpoint.url("/ok"), slug)
    first = await rig.job(
        endpoint.url(path), "first", on_complete_trigger_job="good", on_failure_trigger_job="bad", **more
    )
    (run_id,) = await rig.add(first, payload="[1]")
    failed = await rig.wait(run_id)
    (child,) = await children(rig, run_id)
    told = json.loads(child["payload"])
    assert (told["status"], told["error"], told["error_class"]) == (status, failed["error"], failed["error_class"])
    assert (told["source_run_id"], told["attempt"]) == (ids.spell(ids.Prefix.RUN, run_id), 1)
    assert told["original_input"] == [1]


async def test_a_crash_and_a_fault_before_dispatch_start_it_too(idle: Rig) -> None:
    """Whoever ends the run: the reaper for a dead worker, and a claim that cannot be carried out."""
    await idle.job("http://127.0.0.1:9/", "bad")
    first = await idle.job("http://127.0.0.1:9/", "first", on_failure_trigger_job="bad", max_attempts=1)
    (crashed,) = await idle.add(first)
    await held(idle, crashed)
    (row,) = await runs.held_by_worker(idle.conn, UUID(int=7), 10)
    assert await idle.parts.writer.write(lost_move(row, first.spec, idle.parts.clock.now()))
    (child,) = await children(idle, crashed)
    assert json.loads(child["payload"])["status"] == "crashed"
    await idle.cancel(child["id"])
    (faulty,) = await idle.add(first)
    now = idle.parts.clock.now()
    await claims.claim(idle.conn, UUID(int=7), 1, [0] * len(claims.PRIORITIES), [], now)
    async with idle.conn.transaction():
        assert await runs.end_active(
            idle.conn, [faulty], event=Event.SYSTEM_FAIL, to=Status.SYSTEM_FAILED, allowed=(Status.DEQUEUED,), now=now
        )
    (child,) = await children(idle, faulty)
    assert json.loads(child["payload"])["status"] == "system_failed"


async def test_a_failure_hands_on_what_its_mapping_says(idle: Rig) -> None:
    """In place of the whole story."""
    await idle.job("http://127.0.0.1:9/", "bad")
    mapping = {"of": "{{payload.n}}", "as": "{{run.status}}"}
    first = await idle.job(
        "http://127.0.0.1:9/", "first", on_failure_trigger_job="bad", on_failure_payload_mapping=mapping
    )
    (run_id,) = await idle.add(first, payload='{"n": 7}')
    assert await idle.parts.writer.write(ending(idle, await held(idle, run_id), Status.FAILED))
    (child,) = await children(idle, run_id)
    assert child["payload"] == '{"of":7,"as":"failed"}'


async def test_what_was_canceled_starts_nothing(idle: Rig) -> None:
    """Neither the cancel nor the worker's ending that comes too late."""
    await idle.job("http://127.0.0.1:9/", "next")
    first = await idle.job(
        "http://127.0.0.1:9/", "first", on_complete_trigger_job="next", on_failure_trigger_job="next"
    )
    (run_id,) = await idle.add(first)
    live = await held(idle, run_id)
    assert await idle.cancel(run_id)
    assert not await idle.parts.writer.write(ending(idle, live, Status.COMPLETED))
    assert await children(idle, run_id) == []


async def test_a_batch_of_endings_starts_what_each_says(idle: Rig) -> None:
    """Some start a run, some do not, some are lost; in one transaction."""
    await idle.job("http://127.0.0.1:9/", "next")
    first = await idle.job("http://127.0.0.1:9/", "first", on_complete_trigger_job="next")
    lives = []
    for _ in range(3):
        (run_id,) = await idle.add(first)
        lives.append(await held(idle, run_id))
    await idle.cancel(lives[2].id)
    statuses = (Status.COMPLETED, Status.FAILED, Status.COMPLETED)
    moves = [ending(idle, live, status) for live, status in zip(lives, statuses, strict=True)]
    assert await asyncio.gather(*map(idle.parts.writer.write, moves)) == [True, True, False]
    assert [len(await children(idle, live.id)) for live in lives] == [1, 0, 0]


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("missing", "there is no such job"),
        ("deleted", "there is no such job"),
        ("disabled", "the job is disabled"),
        ("paused", "the job is paused"),
        ("windowed", "has a window"),
        ("schema", 'payload 1 is not of type "object"'),
        ("huge", "the payload is over"),
        ("broke", "has spent its budget of the day"),
    ],
)
async def test_a_target_that_takes_nothing_is_noted(rig: Rig, endpoint: Endpoint, why: str, said: str) -> None:
    """The run completes as if nothing were, with a warning that names the reason."""
    changes: dict[str, Any] = {
        "windowed": {"debounce_window_secs": 5},
        "schema": {"payload_schema": {"type": "object"}},
    }
    if why != "missing":
        target = await rig.job(endpoint.url("/ok"), "next", **changes.get(why, {}))
        now = rig.parts.clock.now()
        if why == "deleted":
            await jobs.delete_job(rig.conn, target.id, now)
        if why == "paused":
            await jobs.pause_job(rig.conn, target.id, None, now)
        if why == "broke":
            await budgets.put_budget(rig.conn, "p", Budget(0, "UTC"), now)
        if why == "disabled":
            await jobs.update_job(rig.conn, target, target.spec, target.version_id, now, enabled=False)
    mapping = {"x": ["{{payload}}"] * 400} if why == "huge" else None
    first = await rig.job(
        endpoint.url("/echo"), "first", on_complete_trigger_job="next", on_complete_payload_mapping=mapping
    )
    (run_id,) = await rig.add(first, payload=json.dumps("x" * 20_000) if why == "huge" else "1")
    run = await rig.wait(run_id)
    assert run["status"] == Status.COMPLETED
    (warning,) = run["warnings"]
    assert warning.startswith("on_complete_trigger_job did not start 'next': ")
    assert said in warning
    assert await children(rig, run_id) == []
    await rig.check()


@pytest.mark.parametrize(
    "statement",
    [b"result_truncated boolean", b"INTO strait.runs (id, job_id", b"COMMIT"],
    ids=["end", "start", "commit"],
)
async def test_a_broken_connection_starts_nothing_twice(migrated: str, endpoint: Endpoint, statement: bytes) -> None:
    """Whichever answer of the transaction is lost: each run has one child, and everything completes."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        await rig.job(endpoint.url("/ok"), "next")
        first = await rig.job(endpoint.url("/hold"), "first", on_complete_trigger_job="next")
        run_ids = await rig.add(first, 10)
        await eventually(lambda: len(endpoint.calls) == 10)
        lost = proxy.lose_answer(statement)
        endpoint.release()
        await asyncio.wait_for(lost.wait(), 10)
        for run_id in run_ids:
            assert (await rig.wait(run_id))["status"] == Status.COMPLETED
        await rig.wait_all()
        assert [len(await children(rig, run_id)) for run_id in run_ids] == [1] * 10
        await rig.stop()
        await rig.check()


async def test_a_chain_ends(rig: Rig, endpoint: Endpoint) -> None:
    """A circle that came about behind the checks stops by itself, and the last run says so."""
    first = await rig.job(endpoint.url("/ok"), "first", on_complete_trigger_job="first")
    (run_id,) = await rig.add(first)
    for depth in range(1, MAX_CHAIN + 1):
        await rig.wait(run_id)
        (child,) = await children(rig, run_id)
        assert child["lineage_depth"] == depth
        run_id = child["id"]
    last = await rig.wait(run_id)
    assert await children(rig, run_id) == []
    assert f"{MAX_CHAIN} runs have started one another already" in last["warnings"][0]


async def test_every_ending_of_a_replayed_run_counts(rig: Rig, endpoint: Endpoint) -> None:
    """Failed, then replayed and failed again: two endings, two runs; as with webhooks."""
    await rig.job(endpoint.url("/ok"), "bad")
    first = await rig.job(endpoint.url("/final"), "first", on_failure_trigger_job="bad")
    (run_id,) = await rig.add(first)
    await rig.wait(run_id)
    assert await runs.replay(rig.conn, run_id, rig.parts.clock.now())
    rig.parts.bus.wake()
    await rig.wait(run_id)
    assert len(await children(rig, run_id)) == 2
