"""Triggers, one and many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strait_core.trigger import MAX_PAYLOAD_BYTES
from tests.api.caller import Caller

JSON = {"Content-Type": "application/json"}


def test_a_trigger_is_answered_with_the_whole_run(api: Caller):
    """201, and what a read of the run gives a moment later."""
    job = api.make_job("whole", tags={"a": "job", "b": "job"}, default_run_metadata={"k": "v"}, priority=3)
    run = api.trigger(job, payload={"greeting": "Hello"}, tags={"b": "run"}, ttl_secs=60, max_attempts=7)
    assert run == api.run(run["id"])
    assert (run["status"], run["seq"], run["attempt"], run["priority"]) == ("queued", 1, 0, 3)
    assert (run["tags"], run["metadata"]) == ({"a": "job", "b": "run"}, {"k": "v"})
    assert (run["payload"], run["result"], run["max_attempts"]) == ({"greeting": "Hello"}, None, 7)
    assert (run["job_slug"], run["job_version"], run["triggered_by"]) == ("whole", 1, "manual")
    assert _time(run["expires_at"]) - _time(run["created_at"]) == timedelta(seconds=60)


def test_an_empty_body_is_an_empty_payload(api: Caller):
    """No body, blanks and `{}` all run the job with `{}`."""
    job = api.make_job("empty")
    for content in (b"", b" \n", b"{}"):
        answer = api.client.post(f"/v1/jobs/{job['id']}/trigger", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["payload"]) == (201, {})
    assert api.call("POST", f"/v1/jobs/{job['id']}/trigger", status=201)["payload"] == {}


def test_a_later_time_delays_the_run(api: Caller):
    """`scheduled_at` ahead: delayed; in the past or now: queued; the TTL counts from when it may start."""
    job = api.make_job("later")
    soon = datetime.now(UTC) + timedelta(hours=1)
    run = api.trigger(job, scheduled_at=soon.isoformat(), ttl_secs=60)
    assert run["status"] == "delayed"
    assert _time(run["scheduled_at"]) == soon
    assert _time(run["expires_at"]) == soon + timedelta(seconds=60)
    assert api.trigger(job, scheduled_at="2020-01-01T00:00:00+02:00")["status"] == "queued"
    assert run == api.run(run["id"])


@pytest.mark.parametrize(
    "payload",
    [
        b'"\\ud800"',
        b'{"\\udfff": ["\\ud800 x"]}',
        b'"\\u0000"',
        b'{"a": 1, "a": 2}',
        b"1e400000",
        b"9" * 5_000,
        b"-0.0",
        b"  [1,\t2 ,\r\n3]",
        b'"\xf0\x9f\x8c\x8a \\ud83c\\udf0a"',
        b"null",
        b"[" * 125 + b"]" * 125,
    ],
    ids=lambda payload: payload[:20].decode(),
)  # fmt: skip
def test_a_payload_is_kept_as_sent(api: Caller, payload: bytes):
    """Whatever JSON it is: not a byte of it is changed by parsing it into something else."""
    job = api.make_job("as-sent")
    sent = b'{"tags":{"a":"b"}, "payload":' + payload + b' ,"priority":2}'
    answer = api.client.post(f"/v1/jobs/{job['id']}/trigger", content=sent, headers=JSON)
    assert answer.status_code == 201, answer.text
    assert b'"payload":' + payload.strip() in answer.content
    again = api.client.get(f"/v1/runs/{_id(answer.content)}")
    assert b'"payload":' + payload.strip() in again.content
    bulk = b'{"items":[{},{"payload":' + payload + b'},{"payload": ' + payload + b',"tags":{}}]}'
    answer = api.client.post(f"/v1/jobs/{job['id']}/trigger/bulk", content=bulk, headers=JSON)
    assert answer.status_code == 201, answer.text
    for run in answer.json()["data"][1:]:
        assert b'"payload":' + payload.strip() in api.client.get(f"/v1/runs/{run['id']}").content


def test_the_largest_payload_is_taken(api: Caller):
    """5 MiB to the byte, as text and as many small objects; one byte more is refused."""
    job = api.make_job("large")
    path = f"/v1/jobs/{job['id']}/trigger"
    largest = b'"' + b"x" * (MAX_PAYLOAD_BYTES - 2) + b'"'
    answer = api.client.post(path, content=b'{"payload":' + largest + b"}", headers=JSON)
    assert answer.status_code == 201
    assert api.client.get(f"/v1/runs/{_id(answer.content)}").json()["payload"] == "x" * (MAX_PAYLOAD_BYTES - 2)
    many = b"[" + b",".join([b'{"a":[1,"]"]}'] * 300_000) + b"]"
    assert api.client.post(path, content=b'{"payload":' + many + b"}", headers=JSON).status_code == 201
    over = b'{"payload":"x' + largest[1:] + b"}"
    answer = api.client.post(path, content=over, headers=JSON)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/payload")


def test_every_fault_of_a_trigger_is_listed(api: Caller):
    """All at once, each with its pointer."""
    job = api.make_job("faulty")
    body = {
        "priority": 11,
        "ttl_secs": -1,
        "max_attempts": 0,
        "timeout_secs": 86_401,
        "scheduled_at": "2030-01-01T00:00:00",
        "tags": {"a": "x" * 257},
        "metadata": {"": "x"},
    }
    problem = api.refuse("POST", f"/v1/jobs/{job['id']}/trigger", body, status=422)
    assert {fault["pointer"] for fault in problem["errors"]} == {
        "/priority", "/ttl_secs", "/max_attempts", "/timeout_secs", "/scheduled_at", "/tags/a", "/metadata/",
    }  # fmt: skip


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2020-02-30T00:00:00Z"])
def test_the_ends_of_the_calendar_do_no_harm(api: Caller, at: str):
    """Times that cannot be told in UTC, or at all, are refused or taken, never a failure."""
    job = api.make_job("calendar")
    answer = api.client.post(f"/v1/jobs/{job['id']}/trigger", json={"scheduled_at": at})
    assert answer.status_code in {201, 422}


def test_a_change_of_the_job_is_seen_at_once_here_and_elsewhere(api: Caller):
    """The cached job of another process is a second old at most, and the insert finds it out before that."""
    job = api.make_job("cached")
    api.trigger(job)
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"priority": 9})
    assert api.trigger(job)["priority"] == 9

    async def behind_the_cache() -> None:
        async with api.server.parts.pool.connection() as conn:
            await conn.execute(
                "UPDATE strait.jobs SET paused = true WHERE slug = 'cached' AND project_id = %s", (api.project,)
            )

    api.trigger(job)
    api.server.do(behind_the_cache())
    assert "paused" in api.refuse("POST", f"/v1/jobs/{job['id']}/trigger", status=409)["detail"]
    api.refuse("POST", f"/v1/jobs/{job['id']}/trigger/bulk", {"items": [{}]}, status=409)


def test_a_bulk_is_one_batch(api: Caller):
    """Every run carries the batch's id, in the order of the items, each with its own settings."""
    job = api.make_job("bulk")
    items: list[Any] = [{"payload": n, "priority": n % 3} for n in range(1_000)]
    batch = api.call("POST", f"/v1/jobs/{job['id']}/trigger/bulk", {"items": items}, status=201)
    assert batch["batch_id"].startswith("bat_")
    assert {run["batch_id"] for run in batch["data"]} == {batch["batch_id"]}
    assert [run["priority"] for run in batch["data"]] == [item["priority"] for item in items]
    assert all("payload" not in run for run in batch["data"])
    assert len({run["id"] for run in batch["data"]}) == 1_000
    assert api.run(batch["data"][998]["id"])["payload"] == 998
    listed = api.call("GET", f"/v1/runs?batch_id={batch['batch_id']}&limit=200")
    assert len(listed["data"]) == 200


def test_a_bulk_with_one_fault_stores_nothing(api: Caller):
    """All or nothing; pointers lead to the items."""
    job = api.make_job("all-or-nothing")
    path = f"/v1/jobs/{job['id']}/trigger/bulk"
    problem = api.refuse("POST", path, {"items": [{}, {"priority": 11}, {}, {"ttl_secs": -1}]}, status=422)
    assert [fault["pointer"] for fault in problem["errors"]] == ["/items/1/priority", "/items/3/ttl_secs"]
    assert api.refuse("POST", path, {"items": [{}, {"tags": 1}]}, status=422)["errors"][0]["pointer"] == "/items/1/tags"
    for count in (0, 1_001):
        assert api.refuse("POST", path, {"items": [{}] * count}, status=422)["errors"][0]["pointer"] == "/items"
    api.refuse("POST", path, {}, status=422)
    assert api.call("GET", f"/v1/runs?project_id={api.project}")["data"] == []


def test_concurrent_triggers_are_all_stored(api: Caller):
    """Triggers that share an insert are each answered with their own run."""
    job = api.make_job("crowd")
    with ThreadPoolExecutor(16) as crowd:
        runs = list(crowd.map(lambda n: api.trigger(job, payload=n), range(200)))
    assert {run["payload"] for run in runs} == set(range(200))
    for run in runs[::20]:
        assert api.run(run["id"])["payload"] == run["payload"]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _id(content: bytes) -> str:
    return content[content.index(b"run_") :][:30].decode()
