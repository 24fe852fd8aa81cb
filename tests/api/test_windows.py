"""Triggers that meet in a window of their job: deduplicated, debounced, batched; and triggers that are only tried."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from strait_core.store import queue
from tests.api.caller import Caller

HOLD = (
    "SELECT FROM strait.trigger_windows w JOIN strait.jobs j ON j.id = w.job_id WHERE j.project_id = %s FOR UPDATE OF w"
)
# Ends whoever waits for a window.
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database() AND query LIKE '%strait.trigger_windows%' AND pid <> pg_backend_pid()"
)


def send(api: Caller, job: dict[str, Any], payload: Any = None, key: str | None = None, **more: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.client.post(f"/v1/jobs/{job['id']}/trigger", json={"payload": payload, **more}, headers=headers)


def listed(api: Caller, job: dict[str, Any]) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = api.call("GET", f"/v1/runs?job_id={job['id']}&limit=20&include=payload")["data"]
    return runs


def promote(api: Caller, after: timedelta) -> None:
    """Do the stager's work as if so much time had passed."""

    async def work() -> None:
        parts = api.server.parts
        async with parts.pool.connection() as conn:
            while (await queue.promote_due(conn, 500, parts.clock.now() + after))[0]:
                pass

    api.server.do(work())


def age(api: Caller, job: dict[str, Any], **length: float) -> None:
    """Let the windows of a job be older by so much."""

    async def work() -> None:
        async with api.server.parts.pool.connection() as conn:
            await conn.execute(
                "UPDATE strait.trigger_windows w SET first_at = first_at - %(a)s, until_at = until_at - %(a)s"
                " FROM strait.jobs j WHERE j.id = w.job_id AND j.slug = %(slug)s AND j.project_id = %(project)s",
                {"a": timedelta(**length), "slug": job["slug"], "project": api.project},
            )

    api.server.do(work())


def at(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["scheduled_at"])


def test_the_same_payload_makes_one_run_in_a_window(api: Caller):
    """Equal by what it says; another payload, or the same one after the window, makes another."""
    job = api.make_job("dedup", dedup_window_secs=60)
    first = send(api, job, {"a": 1, "b": 2})
    again = send(api, job, {"b": 2, "a": 1}, priority=3)
    assert (first.status_code, again.status_code, again.headers["strait-deduplicated"]) == (201, 200, "true")
    assert again.json() == first.json()
    assert send(api, job, {"a": 1}).status_code == 201
    age(api, job, seconds=61)
    later = send(api, job, {"a": 1, "b": 2})
    assert later.status_code == 201
    assert len(listed(api, job)) == 3


def test_racers_of_one_payload_make_one_run(api: Caller):
    """32 at once: one 201, the others the same run."""
    job = api.make_job("dedup-race", dedup_window_secs=60)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: send(api, job, "same"), range(32)))
    assert sorted(answer.status_code for answer in answers) == [200] * 31 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_key_comes_before_every_window(api: Caller):
    """A repetition hears of its own run, and is counted by no window; a key learns the run that stood for it."""
    job = api.make_job("key-first", dedup_window_secs=60)
    first = send(api, job, 1, key="a").json()
    assert send(api, job, 1, key="b").json()["id"] == first["id"]
    age(api, job, seconds=61)
    second = send(api, job, 1).json()
    assert second["id"] != first["id"]
    for key in ("a", "b"):
        replay = send(api, job, 1, key=key)
        assert (replay.status_code, replay.json()["id"]) == (200, first["id"])
        assert replay.headers["idempotency-replayed"] == "true"
    assert send(api, job, 2, key="a").status_code == 422


def test_the_newest_of_debounced_triggers_runs(api: Caller):
    """Each puts the run off and takes its place; after its time the next trigger begins anew."""
    job = api.make_job("debounce", debounce_window_secs=60)
    first = send(api, job, 1, tags={"n": "1"})
    assert (first.status_code, first.json()["status"]) == (202, "delayed")
    assert "payload" not in first.json()
    second = send(api, job, 2, tags={"n": "2"}, priority=5)
    assert (second.status_code, second.json()["id"]) == (202, first.json()["id"])
    assert at(second.json()) > at(first.json())
    (run,) = listed(api, job)
    assert (run["payload"], run["tags"], run["priority"], run["seq"]) == (2, {"n": "2"}, 5, 1)
    promote(api, timedelta(seconds=61))
    assert api.run(run["id"])["status"] == "queued"
    third = send(api, job, 3)
    assert (third.status_code, third.json()["id"] == run["id"]) == (202, False)
    assert api.run(run["id"])["payload"] == 2


def test_a_debounced_run_waits_no_longer_than_it_may(api: Caller):
    """`debounce_max_wait_secs` counts from the first trigger."""
    job = api.make_job("most", debounce_window_secs=60, debounce_max_wait_secs=90)
    first = send(api, job, 1).json()
    age(api, job, seconds=50)
    second = send(api, job, 2).json()
    assert timedelta(seconds=-25) < at(second) - at(first) < timedelta(seconds=-15)
    (run,) = listed(api, job)
    assert (run["id"], run["payload"]) == (first["id"], 2)


def test_debounce_keys_are_apart(api: Caller):
    """Triggers of another key, or of none, do not meet."""
    job = api.make_job("apart", debounce_window_secs=60)
    ids = [send(api, job, 1, **more).json()["id"] for more in ({}, {"debounce_key": "a"}, {"debounce_key": "b"})]
    assert len(set(ids)) == 3
    assert send(api, job, 2, debounce_key="a").json()["id"] == ids[1]


@pytest.mark.parametrize("windows", [{"debounce_window_secs": 60}, {"batch_window_secs": 60}])
def test_a_canceled_run_gathers_no_more(api: Caller, windows: dict[str, int]):
    """What comes after a cancel is a new run."""
    job = api.make_job("canceled", **windows)
    first = send(api, job, 1).json()
    api.call("POST", f"/v1/runs/{first['id']}/cancel")
    second = send(api, job, 2).json()
    assert (second["status"], second["id"] == first["id"]) == ("delayed", False)
    assert api.run(first["id"])["status"] == "canceled"


def test_batched_triggers_are_one_run(api: Caller):
    """In the order they came, due when the first one's window closes."""
    job = api.make_job("batch", batch_window_secs=60)
    answers = [send(api, job, payload) for payload in ({"n": 1}, [2], "3", None)]
    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(202, answers[0].json()["id"])}
    (run,) = listed(api, job)
    assert run["payload"] == {"items": [{"n": 1}, [2], "3", None]}
    assert timedelta(seconds=59) < at(run) - datetime.fromisoformat(run["created_at"]) < timedelta(seconds=61)
    promote(api, timedelta(seconds=61))
    assert send(api, job, 5).json()["id"] != run["id"]
    assert api.run(run["id"])["status"] == "queued"


def test_a_full_batch_is_due_at_once(api: Caller):
    """At `batch_max_size` the run is due, and the next trigger begins another; one may be enough."""
    job = api.make_job("full", batch_window_secs=3_600, batch_max_size=3)
    ids = [send(api, job, n).json()["id"] for n in range(7)]
    assert [len({*ids[at : at + 3]}) for at in (0, 3, 6)] == [1, 1, 1]
    assert len(set(ids)) == 3
    promote(api, timedelta(0))
    assert [run["status"] for run in listed(api, job)] == ["delayed", "queued", "queued"]
    assert [run["payload"]["items"] for run in listed(api, job)] == [[6], [3, 4, 5], [0, 1, 2]]
    single = api.make_job("single", batch_window_secs=3_600, batch_max_size=1)
    assert send(api, single, 1).json()["id"] != send(api, single, 2).json()["id"]


def test_a_batch_stays_below_the_largest_payload(api: Caller):
    """An item that would not fit begins the next batch."""
    job = api.make_job("large", batch_window_secs=60)
    ids = [send(api, job, "é" * 1_200_000).json()["id"] for _ in range(3)]
    assert (ids[0] == ids[1], ids[1] == ids[2]) == (True, False)


def test_nothing_is_lost_while_batches_close(api: Caller):
    """Triggers from many sides while runs are promoted: every payload is in exactly one run."""
    job = api.make_job("race", batch_window_secs=1, batch_max_size=7)

    def trigger(n: int) -> str:
        if n % 5 == 0:
            promote(api, timedelta(seconds=2))
        answer = send(api, job, n)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(trigger, range(200)))
    stored = {run_id: api.run(run_id)["payload"]["items"] for run_id in set(ids)}
    assert sorted(n for items in stored.values() for n in items) == list(range(200))
    assert all(n in stored[run_id] for n, run_id in enumerate(ids))
    assert max(map(len, stored.values())) <= 7


def test_a_repeated_item_is_in_its_batch_once(api: Caller):
    """A key keeps a repetition out of the batch."""
    job = api.make_job("once", batch_window_secs=60)
    for _ in range(3):
        send(api, job, 1, key="a")
    send(api, job, 2, key="b")
    assert listed(api, job)[0]["payload"] == {"items": [1, 2]}
    assert send(api, job, 2, key="a").status_code == 422


@pytest.mark.parametrize(
    ("windows", "body", "pointer"),
    [
        ({}, {"debounce_key": "a"}, "/debounce_key"),
        ({}, {"batch_key": "a"}, "/batch_key"),
        ({"debounce_window_secs": 60}, {"batch_key": "a"}, "/batch_key"),
        ({"debounce_window_secs": 60}, {"debounce_key": ""}, "/debounce_key"),
        ({"debounce_window_secs": 60}, {"debounce_key": "a" * 257}, "/debounce_key"),
        ({"debounce_window_secs": 60}, {"scheduled_at": "2020-01-01T00:00:00Z"}, "/scheduled_at"),
        ({"batch_window_secs": 60}, {"scheduled_at": "2020-01-01T00:00:00Z"}, "/scheduled_at"),
        ({"batch_window_secs": 60}, {"priority": 1}, "/priority"),
        ({"batch_window_secs": 60}, {"tags": {"a": "b"}}, "/tags"),
    ],
)
def test_what_means_nothing_to_the_job_is_refused(
    api: Caller, windows: dict[str, int], body: dict[str, Any], pointer: str
):
    """A trigger may say only what its job's windows can honour."""
    job = api.make_job("means", **windows)
    problem = api.refuse("POST", f"/v1/jobs/{job['id']}/trigger", body, status=422)
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert listed(api, job) == []


@pytest.mark.parametrize(
    ("windows", "pointer"),
    [
        ({"debounce_window_secs": 60, "batch_window_secs": 60}, "/batch_window_secs"),
        ({"debounce_max_wait_secs": 60}, "/debounce_max_wait_secs"),
        ({"debounce_window_secs": 60, "debounce_max_wait_secs": 59}, "/debounce_max_wait_secs"),
        ({"batch_max_size": 5}, "/batch_max_size"),
        ({"batch_window_secs": 60, "batch_max_size": 0}, "/batch_max_size"),
        ({"dedup_window_secs": 86_401}, "/dedup_window_secs"),
    ],
)
def test_windows_that_do_not_go_together_are_refused(api: Caller, windows: dict[str, int], pointer: str):
    """Nothing is stored that would be ignored."""
    body = {"project_id": api.project, "name": "x", "slug": "x", "endpoint_url": "http://127.0.0.1:9/", **windows}
    problem = api.refuse("POST", "/v1/jobs", body, status=422)
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]


@pytest.mark.parametrize("name", ["dedup_window_secs", "debounce_window_secs", "batch_window_secs"])
def test_a_bulk_meets_in_no_window(api: Caller, name: str):
    """A job with a window takes its triggers one by one; 0 takes the window away."""
    job = api.make_job("bulk", **{name: 60})
    api.refuse("POST", f"/v1/jobs/{job['id']}/trigger/bulk", {"items": [{}]}, status=409)
    api.call("PATCH", f"/v1/jobs/{job['id']}", {name: 0})
    assert api.call("GET", f"/v1/jobs/{job['id']}")[name] is None
    api.call("POST", f"/v1/jobs/{job['id']}/trigger/bulk", {"items": [{}]}, status=201)


@pytest.mark.parametrize("name", ["dedup_window_secs", "debounce_window_secs", "batch_window_secs"])
def test_a_paused_job_takes_nothing_into_its_windows(api: Caller, name: str):
    """Also when the job was paused behind the cache."""
    job = api.make_job("paused", **{name: 60})
    send(api, job, 1)

    async def behind_the_cache() -> None:
        async with api.server.parts.pool.connection() as conn:
            await conn.execute(
                "UPDATE strait.jobs SET paused = true WHERE slug = 'paused' AND project_id = %s", (api.project,)
            )

    api.server.do(behind_the_cache())
    assert send(api, job, 2, key="k").status_code == 409
    assert len(listed(api, job)) == 1


def test_a_dry_run_stores_nothing(api: Caller):
    """It answers with the run that would be, refuses what would be refused, and takes no key."""
    job = api.make_job("dry", priority=4)
    answer = send(api, job, {"a": 1}, key="k", dry_run=True)
    assert (answer.status_code, answer.headers["strait-dry-run"]) == (200, "true")
    assert (answer.json()["payload"], answer.json()["priority"]) == ({"a": 1}, 4)
    assert api.client.get(f"/v1/runs/{answer.json()['id']}").status_code == 404
    assert send(api, job, 1, dry_run=True, priority=11).status_code == 422
    assert listed(api, job) == []
    real = send(api, job, {"a": 1}, key="k")
    assert real.status_code == 201
    known = send(api, job, {"a": 1}, key="k", dry_run=True)
    assert (known.json()["id"], known.headers["idempotency-replayed"]) == (real.json()["id"], "true")
    assert send(api, job, {"a": 2}, key="k", dry_run=True).status_code == 422
    assert send(api, job, {"a": 1}, key="k", dry_run=False).status_code == 200
    api.call("POST", f"/v1/jobs/{job['id']}/pause")
    assert send(api, job, 1, dry_run=True).status_code == 409
    problem = api.refuse("POST", f"/v1/jobs/{job['id']}/trigger/bulk", {"items": [{"dry_run": True}]}, status=422)
    assert problem["errors"][0]["pointer"] == "/items/0/dry_run"


@pytest.mark.parametrize(
    "windows", [{"dedup_window_secs": 60}, {"debounce_window_secs": 60}, {"batch_window_secs": 60}]
)
def test_a_connection_lost_in_a_window_leaves_nothing_half_done(api: Caller, windows: dict[str, int]):
    """The trigger is told to come back; nothing of it is stored, its key is free, and its repetition is carried out."""
    job = api.make_job("cut", **windows)
    first = send(api, job, 1).json()
    held = threading.Event()

    async def cut_once() -> list[Any]:
        async with api.server.parts.pool.connection() as conn:
            return await (await conn.execute(CUT)).fetchall()

    async def cut() -> None:
        async with api.server.parts.pool.connection() as conn, conn.transaction():
            await conn.execute(HOLD, (api.project,))
            held.set()
            async with asyncio.timeout(20):
                while not await cut_once():
                    await asyncio.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        cutting = pool.submit(lambda: api.server.do(cut()))
        assert held.wait(20)
        lost = pool.submit(send, api, job, 1, "k")
        cutting.result()
        assert lost.result().status_code == 503
    again = send(api, job, 1, key="k")
    assert again.status_code == (200 if "dedup_window_secs" in windows else 202)
    assert again.json()["id"] == first["id"]
    assert "idempotency-replayed" not in again.headers
    if "batch_window_secs" in windows:
        assert listed(api, job)[0]["payload"] == {"items": [1, 1]}
