"""Events over HTTP, and what an endpoint waits for and makes with its run token."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from strait_core.run import Status
from strait_core.store import parking
from strait_core.store.claims import Claimed
from strait_core.store.queue import Finish
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.endpoint_side import Speaker, speaking


@pytest.fixture
def run(api: Caller) -> dict[str, Any]:
    """A run of a job."""
    return api.trigger(api.make_job(), payload={"n": 1})


def begun(api: Caller, run: dict[str, Any]) -> Claimed:
    """The next attempt of a run."""
    return api.start(api.claim(run))


def park(api: Caller, started: Claimed) -> None:
    """End an attempt that has recorded something with 2xx, as the writer does."""

    async def work() -> None:
        parts = api.server.parts
        async with parts.pool.connection() as conn:
            now = parts.clock.now()
            ending = Finish(
                id=started.id, attempt=started.attempt, lease=started.lease, status=Status.COMPLETED, keep="short",
                finished_at=now,
            )  # fmt: skip
            assert (await parking.end_tied(conn, [ending], now)).held == {started.id}

    api.server.do(work())


def test_a_wait_and_its_event(api: Caller, contract: Contract, run: dict[str, Any]):
    """Recorded (201), said again (200), sent, read by the next attempt; the path says what it waited for."""
    first = begun(api, run)
    with speaking(api, contract, first, run) as endpoint:
        wait = endpoint.say("POST", "wait-for-event", {"event_key": "paid:7", "timeout_secs": 60}, status=201)
        assert (wait["status"], wait["event_key"], wait["run_id"], wait["payload"]) == ("open", "paid:7", None, None)
        assert endpoint.say("POST", "wait-for-event", {"event_key": "paid:7"}) == wait
        park(api, first)
        endpoint.say("POST", "wait-for-event", {"event_key": "other"}, status=401)
    (event,) = api.call("GET", f"/v1/events?project_id={api.project}")["data"]
    assert (event["key"], event["status"], event["waits"]) == ("paid:7", "waiting", 1)
    assert "payload" not in event
    sent = api.call("POST", "/v1/events/paid:7/send", {"project_id": api.project, "payload": {"eur": 5}}, status=201)
    assert (sent["id"], sent["status"], sent["payload"], sent["waits"], sent["delivered"]) == (
        event["id"], "received", {"eur": 5}, 0, 1,
    )  # fmt: skip
    with speaking(api, contract, begun(api, run), run) as endpoint:
        page = endpoint.say("GET", "waits")
        assert [(one["status"], one["payload"]) for one in page["data"]] == [("received", {"eur": 5})]
        assert endpoint.say("POST", "wait-for-event", {"event_key": "paid:7"}) == page["data"][0]
        endpoint.say("GET", "waits?limit=21", status=422)
    steps = {step["event"]: step["reason"] for step in api.call("GET", f"/v1/runs/{run['id']}/events")["data"]}
    assert steps["wait"].startswith("event paid:7 until 20")
    assert steps["resume"] == "event paid:7: received"


def test_a_wait_takes_a_key(api: Caller, contract: Contract, run: dict[str, Any]):
    """Within an attempt a repetition is told what the first was told; the next attempt hears what has come since."""

    def say(endpoint: Speaker, event: str, status: int) -> httpx.Response:
        headers = {"Authorization": f"Bearer {endpoint.token}", "Idempotency-Key": "w"}
        answer = endpoint.client.post(
            f"/sdk/v1/runs/{run['id']}/wait-for-event", json={"event_key": event}, headers=headers
        )
        assert answer.status_code == status, answer.text
        return answer

    first = begun(api, run)
    with speaking(api, contract, first, run) as endpoint:
        told = say(endpoint, "k", 201)
        again = say(endpoint, "k", 201)
        assert again.json() == told.json()
        assert (told.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
        say(endpoint, "another", 422)
        park(api, first)
        say(endpoint, "k", 401)
    api.call("POST", f"/v1/events/k/send?project_id={api.project}", {"payload": 5}, status=201)
    with speaking(api, contract, begun(api, run), run) as endpoint:
        assert say(endpoint, "k", 200).json()["payload"] == 5


def test_a_send_is_one_for_a_day(api: Caller):
    """201, then 200 for the same payload however it is written, 409 for another; found by id and by key."""
    where = f"/v1/events/k/send?project_id={api.project}"
    sent = api.call("POST", where, {"payload": {"a": 1, "b": 2}}, status=201)
    headers = {"Content-Type": "application/json"}
    again = api.call("POST", where, content=b'{"payload": {"b":2,  "a":1}}', headers=headers)
    assert again == sent
    assert api.refuse("POST", where, {"payload": 2}, status=409)["code"] == "conflict"
    assert api.call("GET", f"/v1/events/{sent['id']}") == sent
    assert api.call("GET", f"/v1/events/k?project_id={api.project}") == sent
    api.refuse("POST", f"/v1/events/k/cancel?project_id={api.project}", {}, status=409)
    api.refuse("GET", "/v1/events/never-heard-of", status=404)
    api.refuse("POST", "/v1/events/nobody-waits/send", {}, status=422)
    api.refuse("GET", "/v1/events?status=gone", status=422)


@pytest.mark.parametrize("key", ["x" * 257, "..%2F", "a%09b", "evt_01h455vb4pex5vsknk084sn02q"])
def test_a_key_that_is_none(api: Caller, key: str):
    """Too long, with a character that no path takes, or spelled like an id."""
    answer = api.client.post(f"/v1/events/{key}/send?project_id={api.project}", json={})
    assert answer.status_code in {404, 422}


def test_a_prefix_reaches_whoever_waits(api: Caller, contract: Contract, run: dict[str, Any]):
    """Each awaited key becomes an event; one that stands for another body is named."""
    api.call("POST", f"/v1/events/o:2/send?project_id={api.project}", {"payload": "other"}, status=201)
    first = begun(api, run)
    with speaking(api, contract, first, run) as endpoint:
        for key in ("o:1", "o:3", "p:1"):
            endpoint.say("POST", "wait-for-event", {"event_key": key}, status=201)
    answer = api.call("POST", f"/v1/events/prefix/o:/send?project_id={api.project}", {"payload": 1})
    assert ([one["key"] for one in answer["data"]], answer["conflicts"]) == (["o:1", "o:3"], [])
    api.refuse("POST", "/v1/events/prefix/o:/send", {}, status=422)
    canceled = api.call("POST", f"/v1/events/p:1/cancel?project_id={api.project}", {})
    assert canceled["status"] == "canceled"
    assert api.call("POST", f"/v1/events/{canceled['id']}/cancel", {}) == canceled


def test_a_child_and_its_parent(api: Caller, contract: Contract, run: dict[str, Any]):
    """A spawn is a trigger: keyed, checked, refused alike; the parent reads what the child has left."""
    api.make_job("child", payload_schema={"type": "object", "required": ["m"]})
    api.make_job("paused")
    api.call("POST", f"/v1/jobs/paused/pause?project_id={api.project}", {})
    first = begun(api, run)
    key = {"Idempotency-Key": "once"}
    with speaking(api, contract, first, run) as endpoint:
        token = {"Authorization": f"Bearer {endpoint.token}"}
        body = {"job": "child", "payload": {"m": 1}, "wait": True, "tags": {"a": "b"}}
        where = f"/sdk/v1/runs/{run['id']}/spawn"
        made = api.client.post(where, json=body, headers={**token, **key})
        assert made.status_code == 201
        child = made.json()
        assert (child["parent_run_id"], child["lineage_depth"], child["triggered_by"]) == (run["id"], 1, "spawn")
        again = api.client.post(where, json=body, headers={**token, **key})
        assert (again.status_code, again.json()["id"]) == (200, child["id"])
        endpoint.say("POST", "spawn", {"job": "child", "payload": {}}, status=422)
        endpoint.say("POST", "spawn", {"job": "paused"}, status=409)
        endpoint.say("POST", "spawn", {"job": "nowhere"}, status=404)
        park(api, first)
    assert api.run(run["id"])["status"] == "waiting"
    family = api.call("GET", f"/v1/runs/{child['id']}/lineage")
    assert [one["id"] for one in family["ancestors"]] == [run["id"]]
    park(api, begun(api, child))
    with speaking(api, contract, begun(api, run), run) as endpoint:
        (wait,) = endpoint.say("GET", "waits")["data"]
    assert (wait["status"], wait["run_id"], wait["error"]) == ("completed", child["id"], None)
    family = api.call("GET", f"/v1/runs/{run['id']}/lineage")
    assert ([one["id"] for one in family["descendants"]], family["truncated"]) == ([child["id"]], False)


def test_a_run_goes_on_as_another_once(api: Caller, contract: Contract, run: dict[str, Any]):
    """The payload is this run's unless another is given; a second call finds the first; ten in a row are the most."""
    for depth in range(1, 11):
        started = begun(api, run)
        with speaking(api, contract, started, run) as endpoint:
            made = endpoint.say("POST", "continue", {}, status=201)
            assert endpoint.say("POST", "continue", {})["id"] == made["id"]
            endpoint.say("POST", "continue", {"payload": 2}, status=422)
        api.finish(started)
        assert (made["continuation_of"], made["lineage_depth"]) == (run["id"], depth)
        assert api.run(made["id"])["payload"] == {"n": 1}
        run = made
    with speaking(api, contract, begun(api, run), run) as endpoint:
        assert "10 ancestors" in endpoint.say("POST", "continue", {}, status=409)["detail"]
    assert len(api.call("GET", f"/v1/runs/{run['id']}/lineage")["ancestors"]) == 10


def test_the_waiting_attempt_may_end_its_run(api: Caller, contract: Contract, run: dict[str, Any]):
    """complete and fail of the attempt that waits; a result that is not as the schema says is refused."""
    strict = api.trigger(api.make_job("strict", result_schema={"type": "integer"}))
    for one, (verb, wrong, right) in zip(
        (run, strict), (("fail", {}, {"error": "no"}), ("complete", {"result": "x"}, {"result": 7})), strict=True
    ):
        started = begun(api, one)
        with speaking(api, contract, started, one) as endpoint:
            endpoint.say("POST", "wait-for-event", {"event_key": f"never:{verb}"}, status=201)
            park(api, started)
            endpoint.say("POST", verb, wrong, status=422)
            assert endpoint.say("POST", verb, right)["status"] == {"fail": "failed", "complete": "completed"}[verb]
            endpoint.say("POST", verb, right, status=410)
    assert (api.run(run["id"])["error"], api.run(strict["id"])["result"]) == ("reported: no", 7)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_a_cancel_is_heard_by_who_waits(api: Caller, contract: Contract, run: dict[str, Any], many: bool):
    """The slot that it frees is announced, and the parent goes on, whether one run is canceled or many are."""
    api.make_job("child", max_concurrency=1)
    first = begun(api, run)
    with speaking(api, contract, first, run) as endpoint:
        child = endpoint.say("POST", "spawn", {"job": "child", "wait": True}, status=201)
    park(api, first)
    lane, heard = begun(api, child).lane, list[list[int]]()

    def hear(lanes: list[int]) -> bool:
        heard.append(lanes)
        return False

    api.server.parts.bus.on_freed(hear)
    if many:
        api.call("POST", "/v1/runs/bulk-cancel", {"ids": [child["id"]]})
    else:
        api.call("POST", f"/v1/runs/{child['id']}/cancel")
    assert (heard, api.run(run["id"])["status"]) == ([[lane]], "queued")
