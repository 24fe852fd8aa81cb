"""An endpoint ends its attempt itself: complete, fail, and who wins when others end it too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from strait_core.run import Status
from strait_core.store import queue
from strait_core.store.claims import Claimed
from strait_core.store.queue import Finish
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.endpoint_side import Speaker, speaking
from tests.support.waiting import eventually

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


@pytest.fixture
def run(api: Caller) -> dict[str, Any]:
    """A queued run of a job with two attempts."""
    return api.trigger(api.make_job(max_attempts=2, result_schema=None))


@pytest.fixture
def started(api: Caller, run: dict[str, Any]) -> Claimed:
    """Its first attempt."""
    return api.start(api.claim(run))


@pytest.fixture
def endpoint(api: Caller, contract: Contract, run: dict[str, Any], started: Claimed) -> Iterator[Speaker]:
    """Who works on it."""
    with speaking(api, contract, started, run) as speaker:
        yield speaker


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (b"", b"null"),
        (b"{}", b"null"),
        (b'{"result": null}', b"null"),
        (b'{"result": {"n": 1.50, "n": 1e400}}', b'{"n": 1.50, "n": 1e400}'),
        (b'{"result": "\\u0000 \\ud800"}', b'"\\u0000 \\ud800"'),
    ],
)
def test_a_result_is_kept_as_it_was_sent(
    api: Caller, run: dict[str, Any], endpoint: Speaker, sent: bytes, result: bytes
):
    """NUL, lone surrogates, repeated keys and digits, as in any result; none is null."""
    assert endpoint.say("POST", "complete", content=sent) == {"status": "completed", "next_retry_at": None}
    shown = api.client.get(f"/v1/runs/{run['id']}").content
    assert b'"result":' + result + b"," in shown
    (attempt,) = api.call("GET", f"/v1/runs/{run['id']}/attempts")["data"]
    assert (attempt["outcome"], attempt["http_status"]) == ("completed", None)
    assert attempt["timings_ms"]["total"] > 0


def test_a_result_has_a_bound_and_a_schema(api: Caller, contract: Contract):
    """Refused, and the attempt goes on: nothing is cut, and a sound result still counts."""
    run = api.trigger(api.make_job(result_schema=SCHEMA))
    with speaking(api, contract, api.start(api.claim(run)), run) as endpoint:
        problem = endpoint.say("POST", "complete", {"result": {"n": "one"}}, status=422)
        assert problem["errors"][0]["pointer"] == "/result/n"
        endpoint.say("POST", "complete", status=422)
        big = b'{"result": {"n": 1, "x": "' + b"x" * 1024 * 1024 + b'"}}'
        assert endpoint.say("POST", "complete", content=big, status=422)["errors"][0]["pointer"] == "/result"
        endpoint.say("POST", "complete", content=b" " * 20_000 + big, status=413)
        wide = b'{"result": {"n": 1, "x": "' + b"\xc3\xa9" * 512 * 1024 + b'"}}'
        assert endpoint.say("POST", "complete", content=wide, status=422)["errors"][0]["pointer"] == "/result"
        assert api.run(run["id"])["status"] == "executing"
        assert endpoint.say("POST", "complete", {"result": {"n": 1}})["status"] == "completed"


def test_failing_spends_the_attempt(api: Caller, contract: Contract, run: dict[str, Any], endpoint: Speaker):
    """It is tried again while attempts are left, then it is a dead letter, with what the endpoint said."""
    told = endpoint.say("POST", "fail", {"error": "no\u2028luck\n"})
    assert told["status"] == "queued"
    now = api.run(run["id"])
    assert (now["error"], now["error_class"]) == ("reported: no luck", "reported")
    assert now["next_retry_at"] == told["next_retry_at"]
    endpoint.say("POST", "complete", status=401)


def test_a_last_failure_is_a_dead_letter(api: Caller, contract: Contract):
    """One attempt: dead_letter; not retryable: failed, whatever is left."""
    for retryable, attempts, status in ((True, 1, "dead_letter"), (False, 3, "failed")):
        run = api.trigger(api.make_job(f"job-{status}", max_attempts=attempts))
        with speaking(api, contract, api.start(api.claim(run)), run) as endpoint:
            told = endpoint.say("POST", "fail", {"error": "no", "retryable": retryable})
            assert told == {"status": status, "next_retry_at": None}
            endpoint.say("POST", "fail", {"error": "no"}, status=410)


def test_a_long_error_is_cut_with_a_mark(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """A failure is never refused for its length."""
    endpoint.say("POST", "fail", {"error": "x" * 100_000, "retryable": False})
    error = api.run(run["id"])["error"]
    assert len(error) == 1_000
    assert error.endswith("xx … (cut)")


def test_of_two_racers_one_wins_and_the_other_is_told(api: Caller, contract: Contract):
    """Twenty times: complete against complete; one 200, one 410, and the winner's result."""
    job = api.make_job()
    for _ in range(20):
        run = api.trigger(job)
        started = api.start(api.claim(run))
        with speaking(api, contract, started, run) as endpoint, ThreadPoolExecutor(2) as racers:
            answers = list(racers.map(partial(_complete, endpoint), (1, 2)))
        assert sorted(answer.status_code for answer in answers) == [200, 410]
        winner = 1 + [answer.status_code for answer in answers].index(200)
        assert api.run(run["id"])["result"] == winner


def _complete(endpoint: Speaker, result: Any) -> httpx.Response:
    return endpoint.client.post(
        f"/sdk/v1/runs/{endpoint.run_id}/complete",
        json={"result": result},
        headers={"Authorization": f"Bearer {endpoint.token}"},
    )


def test_complete_against_cancel(api: Caller, contract: Contract):
    """Twenty times: one of the two happens, the other is told, and the run has one ending."""
    job = api.make_job()
    for _ in range(20):
        run = api.trigger(job)
        started = api.start(api.claim(run))
        with speaking(api, contract, started, run) as endpoint, ThreadPoolExecutor(2) as racers:
            done = racers.submit(_complete, endpoint, 1)
            canceled = racers.submit(api.client.post, f"/v1/runs/{run['id']}/cancel")
        codes = (done.result().status_code, canceled.result().status_code)
        assert codes in {(200, 409), (410, 200)}
        assert api.run(run["id"])["status"] == ("completed" if codes[0] == 200 else "canceled")
        assert len(api.call("GET", f"/v1/runs/{run['id']}/attempts")["data"]) == 1


@pytest.mark.parametrize("status", [Status.DEAD_LETTER, Status.TIMED_OUT, Status.COMPLETED])
def test_what_the_worker_hears_later_changes_nothing(
    api: Caller, run: dict[str, Any], started: Claimed, endpoint: Speaker, status: Status
):
    """Complete, then a 500, a timeout or another 2xx: the fence lets only the first through."""
    endpoint.say("POST", "complete", {"result": "first"})
    item = Finish(
        id=started.id,
        attempt=started.attempt,
        lease=started.lease,
        status=status,
        keep="long",
        finished_at=api.server.parts.clock.now(),
        result='"second"',
    )

    async def work() -> set[Any]:
        async with api.server.parts.pool.connection() as conn:
            return await queue.finish_if_held(conn, [item], item.finished_at)

    assert api.server.do(work()) == set()
    now = api.run(run["id"])
    assert (now["status"], now["result"]) == ("completed", "first")


def test_the_endpoints_word_reaches_its_breaker(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """A process that only serves the API tells it too: what it says undoes the failures before."""
    parts = api.server.parts

    def asked(statement: str) -> list[Any]:
        async def work() -> list[Any]:
            async with parts.pool.connection() as conn:
                cursor = await conn.execute(statement.encode(), {"slug": run["job_slug"], "project": api.project})
                return await cursor.fetchall() if cursor.description else []

        return api.server.do(work())

    of_job = "(SELECT breaker FROM strait.jobs WHERE slug = %(slug)s AND project_id = %(project)s)"
    asked(
        "INSERT INTO strait.breakers (key, state, failures, changed_at, step, looked_at)"
        f" SELECT {of_job}, 'closed', 2, '2000-01-01', 0, '2000-01-01'"
    )
    eventually(lambda: not parts.breakers.calm, 20, lambda: "the API never looked at breakers")
    endpoint.say("POST", "complete", content=b"{}")
    counted = f"SELECT failures FROM strait.breakers WHERE key = {of_job}"
    eventually(lambda: asked(counted) == [(0,)], 20, lambda: "the failures before are counted still")
