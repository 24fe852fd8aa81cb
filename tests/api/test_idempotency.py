"""Idempotency keys over HTTP: one run, one job, one bulk for each, whoever asks again and however many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import httpx
import pytest

from strait_core.run import Status
from strait_core.store import idempotency
from tests.api.caller import Caller
from tests.support.sizes import size

RACERS = 64
ROUNDS = size(ci=8, soak=200)
JSON = {"Content-Type": "application/json"}


def keyed(key: str) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": key}}


def send(api: Caller, path: str, body: Any, key: str) -> httpx.Response:
    return api.client.post(path, json=body, headers={"Idempotency-Key": key})


def path_of(job: dict[str, Any], end: str = "trigger") -> str:
    return f"/v1/jobs/{job['id']}/{end}"


def count(api: Caller, job: dict[str, Any]) -> int:
    return len(api.call("GET", f"/v1/runs?job_id={job['id']}&limit=200")["data"])


def time_passes(api: Caller, *runs: dict[str, Any], **length: float) -> None:
    """Move what was stored of these runs and of all their keys into the past."""

    async def work() -> None:
        async with api.server.parts.pool.connection() as conn:
            keys = [run["idempotency_key"] for run in runs]
            await conn.execute(
                "UPDATE strait.idempotency_keys SET look_at = look_at - %s WHERE project_id = %s AND key = ANY(%s)",
                (timedelta(**length), api.project, keys),
            )
            await conn.execute(
                "UPDATE strait.run_history SET finished_at = finished_at - %s WHERE project_id = %s",
                (timedelta(**length), api.project),
            )

    api.server.do(work())


def test_the_same_key_gives_the_first_run(api: Caller):
    """201 first, then 200 with that run as it is now, marked as replayed; nothing new is stored."""
    job = api.make_job("again")
    first = send(api, path_of(job), {"payload": {"a": 1}}, "k")
    assert (first.status_code, first.json()["idempotency_key"]) == (201, "k")
    assert "idempotency-replayed" not in first.headers
    again = send(api, path_of(job), {"payload": {"a": 1}}, "k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json() == first.json() == api.run(first.json()["id"])
    api.complete(first.json(), result='{"done": true}')
    over = send(api, path_of(job), {"payload": {"a": 1}}, "k")
    assert (over.status_code, over.json()["status"], over.json()["result"]) == (200, "completed", {"done": True})
    assert over.json()["idempotency_key"] == "k"
    assert count(api, job) == 1


def test_another_body_under_the_key_is_refused(api: Caller):
    """422 says why; the key keeps its run."""
    job = api.make_job("other-body")
    first = send(api, path_of(job), {"payload": {"a": 1}}, "k")
    for body in ({"payload": {"a": 2}}, {"payload": {"a": 1}, "priority": 1}, {}):
        problem = api.refuse("POST", path_of(job), body, status=422, **keyed("k"))
        assert "another body" in problem["detail"]
    assert send(api, path_of(job), {"payload": {"a": 1}}, "k").json()["id"] == first.json()["id"]
    assert count(api, job) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"tags":{"y":"2","x":"1"},"payload":{"b":[1.0,"\\u00e9"],"a":{}}}',
        b' { "payload" : {"a":{ },"b":[ 1.0 , "\xc3\xa9"]}, "tags":{"x":"1","y":"2"} } ',
    ],
)
def test_a_body_is_compared_by_what_it_says(api: Caller, body: bytes):
    """Blanks, the order of keys and escapes carry no meaning."""
    job = api.make_job("spelled")
    first = b'{"payload":{"a":{},"b":[1.0,"\xc3\xa9"]},"tags":{"x":"1","y":"2"}}'
    headers = {"Idempotency-Key": "k", **JSON}
    assert api.client.post(path_of(job), content=first, headers=headers).status_code == 201
    assert api.client.post(path_of(job), content=body, headers=headers).status_code == 200


def test_no_payload_says_the_same_as_the_empty_one(api: Caller):
    """No body, `{}` and an empty payload are one request; null is another."""
    job = api.make_job("nothing")
    assert api.client.post(path_of(job), headers={"Idempotency-Key": "k"}).status_code == 201
    assert send(api, path_of(job), {}, "k").status_code == 200
    assert send(api, path_of(job), {"payload": {}}, "k").status_code == 200
    assert send(api, path_of(job), {"payload": None}, "k").status_code == 422


@pytest.mark.parametrize(
    "payload", [b'"\\ud800"', b'{"a":1,"a":2}', b"1e400000", b"9" * 5_000, b'"\\u0000"', b"[" * 120 + b"]" * 120]
)
def test_any_payload_can_be_repeated(api: Caller, payload: bytes):
    """Whatever JSON a payload may be, it is compared without being changed, or failing."""
    job = api.make_job("any")
    content, headers = b'{"payload":' + payload + b"}", {"Idempotency-Key": "k", **JSON}
    assert [api.client.post(path_of(job), content=content, headers=headers).status_code for _ in "12"] == [201, 200]


def test_numbers_and_strings_of_the_same_digits_differ(api: Caller):
    """1, 1.0 and "1" are three bodies."""
    job = api.make_job("digits")
    assert send(api, path_of(job), {"payload": 1}, "k").status_code == 201
    assert send(api, path_of(job), {"payload": 1.0}, "k").status_code == 422
    assert send(api, path_of(job), {"payload": "1"}, "k").status_code == 422


def test_a_key_belongs_to_one_job(api: Caller):
    """The same key for two jobs makes two runs; without a key every request makes one."""
    one, two = api.make_job("one"), api.make_job("two")
    assert [send(api, path_of(job), {}, "k").status_code for job in (one, two, one, two)] == [201, 201, 200, 200]
    assert api.trigger(one)["idempotency_key"] is None
    api.trigger(one)
    assert (count(api, one), count(api, two)) == (3, 1)


def test_both_names_of_the_header_work(api: Caller):
    """X-Idempotency-Key says the same; two different keys are refused."""
    job = api.make_job("names")
    assert api.client.post(path_of(job), headers={"X-Idempotency-Key": "k"}).status_code == 201
    assert api.client.post(path_of(job), headers={"Idempotency-Key": "k"}).status_code == 200
    both = {"Idempotency-Key": "k", "X-Idempotency-Key": "k"}
    assert api.client.post(path_of(job), headers=both).status_code == 200
    assert api.client.post(path_of(job), headers={**both, "X-Idempotency-Key": "l"}).status_code == 422


@pytest.mark.parametrize(("key", "status"), [("", 422), ("k" * 256, 201), ("k" * 257, 422), ("a\tb", 422)])
def test_a_key_has_bounds(api: Caller, key: str, status: int):
    """1 to 256 characters without control characters, in the header and in an item of a bulk."""
    job = api.make_job("bounds")
    assert send(api, path_of(job), {}, key).status_code == status
    answer = api.client.post(path_of(job, "trigger/bulk"), json={"items": [{"idempotency_key": key}]})
    # The header's key was used already, so its item leads to that run.
    assert answer.status_code == (200 if status == 201 else status)


def test_the_order_of_a_trigger(api: Caller):
    """A job that takes nothing and a wrong body are told first, the key next."""
    job = api.make_job("order")
    assert send(api, path_of(job), {}, "k").status_code == 201
    assert send(api, path_of(job), {"priority": 11}, "k").status_code == 422
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"priority": 9})
    assert send(api, path_of(job), {}, "k").json()["priority"] == 0
    api.call("POST", path_of(job, "pause"))
    assert send(api, path_of(job), {}, "k").status_code == 409
    api.call("POST", path_of(job, "resume"))
    assert send(api, path_of(job), {}, "k").status_code == 200


def test_a_key_outlives_its_run_by_a_day(api: Caller):
    """However long the run waits; a day after its end the key makes a new run, a moment before it does not."""
    job = api.make_job("day")
    first = send(api, path_of(job), {}, "k").json()
    time_passes(api, first, days=3)
    assert send(api, path_of(job), {}, "k").json()["id"] == first["id"]
    api.complete(first)
    time_passes(api, first, hours=23)
    assert send(api, path_of(job), {}, "k").json()["id"] == first["id"]
    time_passes(api, first, hours=2)
    second = send(api, path_of(job), {"payload": "new"}, "k")
    assert second.status_code == 201
    assert second.json()["id"] != first["id"]


def test_overdue_keys_are_forgotten_in_the_background(api: Caller):
    """Those of runs over for a day go; those of waiting runs, and of runs just over, stay."""
    job = api.make_job("tick")
    old, waiting, fresh = (send(api, path_of(job), {}, key).json() for key in ("old", "waiting", "fresh"))
    api.complete(old)
    time_passes(api, old, waiting, fresh, hours=25)
    api.complete(fresh, Status.FAILED)

    async def tick() -> list[str]:
        parts = api.server.parts
        async with parts.pool.connection() as conn:
            while (await idempotency.settle(conn, parts.clock.now()))[0]:
                pass
            rows = await conn.execute(
                "SELECT key FROM strait.idempotency_keys WHERE project_id = %s AND look_at > %s ORDER BY key",
                (api.project, parts.clock.now()),
            )
            return [row[0] for row in await rows.fetchall()]

    assert api.server.do(tick()) == ["fresh", "waiting"]


@pytest.mark.soak
def test_racers_make_one_run(api: Caller):
    """64 at once with one key: one 201, all others 200, one run (8 rounds; 200 in a soak)."""
    job = api.make_job("race")
    start = Barrier(RACERS)

    def race(number: int) -> tuple[int, str]:
        start.wait()
        answer = racers[number].post(path_of(job), json={"payload": 1}, headers=headers)
        return answer.status_code, answer.json()["id"]

    racers = [api.server.client(headers=dict(api.client.headers)) for _ in range(RACERS)]
    with ThreadPoolExecutor(RACERS) as pool:
        for round_number in range(ROUNDS):
            headers = {"Idempotency-Key": f"race-{round_number}"}
            answers = list(pool.map(race, range(RACERS)))
            assert sorted(status for status, _ in answers) == [200] * (RACERS - 1) + [201]
            assert len({run_id for _, run_id in answers}) == 1
    for racer in racers:
        racer.close()
    stored = sum(1 for _ in pages(api, job))
    assert stored == ROUNDS


def pages(api: Caller, job: dict[str, Any]) -> Any:
    cursor = ""
    while cursor is not None:
        page = api.call("GET", f"/v1/runs?job_id={job['id']}&limit=200{cursor and '&cursor=' + cursor}")
        yield from page["data"]
        cursor = page["next_cursor"]


def test_the_items_of_a_bulk_have_keys(api: Caller):
    """Known keys give their first runs, the rest is new; a trigger and an item share one scope."""
    job = api.make_job("items")
    first = send(api, path_of(job), {"payload": 1}, "a").json()
    items = [{"payload": 1, "idempotency_key": "a"}, {"payload": 2, "idempotency_key": "b"}, {"payload": 3}]
    mixed = api.call("POST", path_of(job, "trigger/bulk"), {"items": items}, status=201)
    ids = [run["id"] for run in mixed["data"]]
    assert (ids[0], len(set(ids))) == (first["id"], 3)
    assert [run["batch_id"] for run in mixed["data"]] == [None, mixed["batch_id"], mixed["batch_id"]]
    assert send(api, path_of(job), {"payload": 2}, "b").json()["id"] == ids[1]
    known = api.client.post(path_of(job, "trigger/bulk"), json={"items": items[:2]})
    assert (known.status_code, known.headers["idempotency-replayed"]) == (200, "true")
    assert (known.json()["batch_id"], [run["id"] for run in known.json()["data"]]) == (None, ids[:2])
    assert count(api, job) == 3


def test_a_key_twice_in_a_bulk_makes_one_run(api: Caller):
    """Two items with one key and one body are one run; with two bodies the bulk is refused whole."""
    job = api.make_job("twice")
    item = {"payload": 1, "idempotency_key": "a"}
    answer = api.call("POST", path_of(job, "trigger/bulk"), {"items": [item, {}, item]}, status=201)
    assert answer["data"][0]["id"] == answer["data"][2]["id"]
    items = [{"idempotency_key": "b"}, {"payload": 2, "idempotency_key": "b"}, {"payload": 2, "idempotency_key": "a"}]
    problem = api.refuse("POST", path_of(job, "trigger/bulk"), {"items": items}, status=422)
    pointers = [fault["pointer"] for fault in problem["errors"]]
    assert pointers == ["/items/1/idempotency_key", "/items/2/idempotency_key"]
    assert count(api, job) == 2


def test_a_whole_bulk_has_a_key(api: Caller):
    """The same header and items give the same batch; other items are refused; keys over their time are free again."""
    job = api.make_job("whole")
    body = {"items": [{"payload": n} for n in range(30)]}
    first = send(api, path_of(job, "trigger/bulk"), body, "k")
    again = send(api, path_of(job, "trigger/bulk"), body, "k")
    assert (first.status_code, again.status_code, again.headers["idempotency-replayed"]) == (201, 200, "true")
    assert again.json() == first.json()
    assert send(api, path_of(job, "trigger/bulk"), {"items": body["items"][:-1]}, "k").status_code == 422
    assert count(api, job) == 30


def test_an_overdue_key_of_an_item_is_taken_anew(api: Caller):
    """A bulk forgets what is over before it refuses anything."""
    job = api.make_job("overdue")
    first = send(api, path_of(job), {}, "a").json()
    api.complete(first)
    time_passes(api, first, hours=25)
    items = [{"payload": "other", "idempotency_key": "a"}]
    answer = api.call("POST", path_of(job, "trigger/bulk"), {"items": items}, status=201)
    assert answer["data"][0]["id"] != first["id"]


def test_bulks_race_for_their_keys(api: Caller):
    """Bulks with the same keys in other orders: nobody deadlocks, each key makes one run."""
    job = api.make_job("bulk-race")
    keys = [f"k{n}" for n in range(40)]

    def race(number: int) -> list[str]:
        turned = keys[number:] + keys[:number]
        items = [{"idempotency_key": key} for key in turned]
        answer = api.client.post(path_of(job, "trigger/bulk"), json={"items": items})
        single = send(api, path_of(job), {}, turned[0])
        assert single.status_code in {200, 201}
        assert answer.status_code in {200, 201}, answer.text
        return sorted(run["id"] for run in answer.json()["data"])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(race, range(16)))
    assert all(answer == answers[0] for answer in answers)
    assert count(api, job) == len(keys)


@pytest.mark.parametrize("clone", [False, True])
def test_a_job_is_created_once(api: Caller, clone: bool):
    """The stored answer comes back to the letter, also when the job has changed; another body is refused."""
    source = api.make_job("source")
    path = path_of(source, "clone") if clone else "/v1/jobs"
    body: dict[str, Any] = {"slug": "made"}
    if not clone:
        body |= {"project_id": api.project, "name": "made", "endpoint_url": "http://127.0.0.1:9/"}
    first = send(api, path, body, "k")
    assert first.status_code == 201, first.text
    api.call("PATCH", f"/v1/jobs/{first.json()['id']}", {"priority": 7})
    again = send(api, path, body, "k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert send(api, path, {**body, "slug": "else"}, "k").status_code == 422
    assert send(api, path, body, "l").status_code == 409
    assert api.client.post(path, json=body).status_code == 409


def test_a_refused_creation_leaves_its_key_free(api: Caller):
    """What was not done is not remembered: with the slug free again the same request succeeds."""
    taken = api.make_job("taken")
    body = {"project_id": api.project, "name": "x", "slug": "taken", "endpoint_url": "http://127.0.0.1:9/"}
    assert send(api, "/v1/jobs", body, "k").status_code == 409
    api.call("DELETE", f"/v1/jobs/{taken['id']}", status=204)
    assert send(api, "/v1/jobs", body, "k").status_code == 201


def test_racers_create_one_job(api: Caller):
    """16 at once with one key and one slug: one job, and everybody is told of it."""
    body = {"project_id": api.project, "name": "x", "slug": "raced", "endpoint_url": "http://127.0.0.1:9/"}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: send(api, "/v1/jobs", body, "k"), range(16)))
    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(201, answers[0].json()["id"])}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 15


def test_every_creating_route_takes_a_key(api: Caller):
    """A POST that answers 201 documents the header, and so does what moves or makes many."""
    document = api.call("GET", "/openapi.json")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
            many = any(word in path for word in ("/bulk-", "/prefix/", "/manifests/apply"))
            creates = method == "post" and ("201" in operation["responses"] or many)
            assert ("Idempotency-Key" in headers) == creates, path


def test_a_replayed_run_holds_its_key(api: Caller):
    """The key stays with its run through a replay, and the columns with the row through all moves."""
    job = api.make_job("replayed")
    run = send(api, path_of(job), {}, "k").json()
    api.complete(run, Status.FAILED)
    api.call("POST", f"/v1/runs/{run['id']}/replay")
    assert send(api, path_of(job), {}, "k").json()["seq"] > 1
    api.call("POST", f"/v1/runs/{run['id']}/cancel")
    again = send(api, path_of(job), {}, "k")
    assert (again.json()["status"], again.json()["idempotency_key"]) == ("canceled", "k")
