"""What an endpoint sees of an attempt, and how a run is tried again."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac

from strait_core import ids
from strait_core.run import Status
from strait_core.store import stats
from strait_daemon.exposition import Exposition
from tests.support.daemon import SIGNING_KEY
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually, running
from tests.support.scripted import Visit, answer, answering, scripted
from tests.support.sizes import size

# Promised of the 99th of a hundred, on a machine that runs no other tests beside this one.
LATE = timedelta(seconds=size(ci=5, soak=0.25))


def _part(text: str) -> Any:
    return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def test_the_request_that_an_endpoint_gets(rig: Rig) -> None:
    """Method, body, every header of the contract, once each; the job's own may not be doubled by ours."""
    own = {"X-Own": "yes", "user-agent": "mine/1", "ACCEPT": "text/plain", "Authorization": "Bearer own"}
    payload = '{"a": [1, 2.50, "\\u0000", "\u00e9"], "a": 2}'
    async with scripted(answering("200 OK")) as endpoint:
        job = await rig.job(endpoint.url + "path?q=%20a&b=1", headers=own, timeout_secs=77)
        (run_id,) = await rig.add(job, payload=payload)
        await rig.wait(run_id)
        (visit,) = endpoint.visits
    assert visit.head.startswith(b"POST /path?q=%20a&b=1 HTTP/1.1\r\n")
    assert visit.body.decode() == payload
    names = [name.lower() for name, _ in visit.headers]
    assert len(names) == len(set(names))
    sent = {name.lower(): value for name, value in visit.headers}
    spelled = ids.spell(ids.Prefix.RUN, run_id)
    assert sent["x-run-id"] == sent["idempotency-key"] == spelled
    assert sent["x-job-id"] == ids.spell(ids.Prefix.JOB, job.id)
    assert sent["x-attempt"] == "1"
    assert sent["content-type"] == "application/json"
    assert {"x-own": "yes", "user-agent": "mine/1", "accept": "text/plain"}.items() <= sent.items()
    assert sent["authorization"] == "Bearer own"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", sent["traceparent"])
    assert "x-previous-error" not in sent
    head, claims, signature = sent["x-run-token"].split(".")
    mac = hmac.HMAC(SIGNING_KEY.encode(), hashes.SHA256())
    mac.update(f"{head}.{claims}".encode())
    mac.verify(urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    told = _part(claims)
    assert (told["iss"], told["sub"], told["attempt"], told["exp"] - told["iat"]) == (
        "strait:run-token",
        spelled,
        1,
        77 + 60,
    )


async def test_proxies_and_cookies_are_ignored(rig: Rig, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables of the daemon's environment change nothing, and no endpoint's cookie reaches another run."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    async with scripted(answering("200 OK", Set_Cookie="a=b; Path=/")) as cookies:
        job = await rig.job(cookies.url)
        for _ in range(2):
            assert (await rig.wait((await rig.add(job))[0]))["status"] == Status.COMPLETED
        assert all(name.lower() != "cookie" for visit in cookies.visits for name, _ in visit.headers)


async def test_a_retry_says_what_went_wrong(rig: Rig) -> None:
    """The error of the attempt before, in ASCII, at most 1 KiB; a new attempt number and a new token."""

    async def script(visit: Visit) -> None:
        failed = len(endpoint.visits) < 3
        await visit.say(
            answer("500 Oops", ("caf\u00e9\r\nX-Evil: 1 " + "x" * 5_000).encode()) if failed else answer("204 No")
        )

    async with scripted(script) as endpoint:
        job = await rig.job(endpoint.url, retry_strategy="fixed", priority=4, retry_priority_boost=4)
        (run_id,) = await rig.add(job)
        run = await rig.wait(run_id)
    heads = [dict(visit.headers) for visit in endpoint.visits]
    assert [head["X-Attempt"] for head in heads] == ["1", "2", "3"]
    assert len({head["X-Run-Token"] for head in heads}) == 3
    assert "X-Evil" not in heads[1]
    said = heads[1]["X-Previous-Error"]
    assert said.startswith("HTTP 500: caf? X-Evil: 1 xxx")
    assert len(said) <= 1_024
    assert (run["status"], run["attempt"], run["priority"], run["error"]) == (Status.COMPLETED, 3, 10, None)
    attempts = await rig.attempts(run_id)
    assert [(a["number"], a["outcome"]) for a in attempts] == [(1, "error"), (2, "error"), (3, "completed")]
    for earlier, later in pairwise(attempts):
        assert later["started_at"] - earlier["finished_at"] >= timedelta(seconds=1)


@pytest.mark.parametrize(
    ("policy", "after", "low", "high"),
    [
        ({"retry_strategy": "exponential"}, None, 1, 1.25),
        ({"retry_strategy": "linear"}, None, 1, 1.25),
        ({"retry_strategy": "fixed"}, None, 1, 1.25),
        ({"retry_strategy": "custom", "retry_delays_secs": (30, 60)}, None, 24, 36.05),
        ({"retry_strategy": "fixed"}, "100", 100, 100.05),
        ({"retry_strategy": "fixed"}, "99999999", 3_600, 3_600.05),
        ({"retry_strategy": "custom", "retry_delays_secs": (60,)}, "1", 48, 72.05),
        ({"retry_strategy": "fixed"}, "date", 89.95, 90.05),
        ({"retry_strategy": "fixed"}, "Fri, 31 Dec 1999 23:59:59 GMT", 1, 1.25),
        ({"retry_strategy": "fixed"}, "soon", 1, 1.25),
        ({"retry_strategy": "fixed"}, "-5", 1, 1.25),
        ({"retry_strategy": "fixed"}, "Mon, 99 Foo 2030 99:99:99 +9999", 1, 1.25),
    ],
)
async def test_the_wait_before_the_second_attempt(
    rig: Rig, policy: dict[str, Any], after: str | None, low: float, high: float
) -> None:
    """Each strategy, and `Retry-After` in seconds or as a date, which only ever raises the delay, to an hour at most."""
    began = None
    if after == "date":
        began = datetime.now(UTC).replace(microsecond=0)
        after = format_datetime(began + timedelta(seconds=90), usegmt=True)
    head = {"Retry_After": after} if after else {}
    async with scripted(answering("503 Busy", b"", **head)) as endpoint:
        job = await rig.job(endpoint.url, max_attempts=2, **policy)
        (run_id,) = await rig.add(job)

        async def failed() -> bool:
            return (await rig.run(run_id))["next_retry_at"] is not None

        await eventually(failed)
    run = await rig.run(run_id)
    (attempt,) = await rig.attempts(run_id)
    # A date says when, however long the answer has taken.
    wait = (run["next_retry_at"] - (began or attempt["finished_at"])).total_seconds()
    assert low <= wait <= high
    assert run["status"] == Status.QUEUED


@pytest.mark.parametrize(
    ("path", "policy", "status", "calls"),
    [
        ("/status/500", {}, Status.DEAD_LETTER, 2),
        ("/hang", {"timeout_secs": 1}, Status.TIMED_OUT, 2),
        ("/reset", {}, Status.DEAD_LETTER, 2),
        ("/final", {}, Status.FAILED, 1),
        ("/status/409", {"non_retryable_statuses": (409,)}, Status.FAILED, 1),
        ("/flaky/1", {}, Status.COMPLETED, 2),
    ],
)
async def test_attempts_run_out(
    rig: Rig, endpoint: Endpoint, path: str, policy: dict[str, Any], status: Status, calls: int
) -> None:
    """Never more than `max_attempts`; the last ending names the state."""
    job = await rig.job(endpoint.url(path), max_attempts=2, retry_strategy="fixed", **policy)
    (run_id,) = await rig.add(job)
    run = await rig.wait(run_id)
    assert (run["status"], run["attempt"]) == (status, calls)
    assert len(endpoint.calls) == calls


async def test_high_priority_first_and_fifo_within(migrated: str, endpoint: Endpoint) -> None:
    """With one slot the order of the calls is the order of the queue."""
    async with running(migrated, WORKER_POOL_SIZE=1) as rig:
        blocker = await rig.job(endpoint.url("/hold"), slug="blocker")
        await rig.add(blocker)
        await eventually(lambda: endpoint.open == 1)
        job = await rig.job(endpoint.url("/ok"))
        low = [(await rig.add(job, priority=1))[0] for _ in range(5)]
        high = [(await rig.add(job, priority=9))[0] for _ in range(5)]
        endpoint.release()
        await rig.wait_all()
        called = [call.run for call in endpoint.calls[1:]]
        assert called == [ids.spell(ids.Prefix.RUN, run_id) for run_id in [*high, *low]]


async def test_the_statistics_agree_with_the_tables(rig: Rig, endpoint: Endpoint) -> None:
    """The accountant's sums, folded while runs move, end at count(*); in the gauge too."""
    jobs = [await rig.job(endpoint.url(path), slug=path[1:3], max_attempts=1) for path in ("/ok", "/status/404")]
    for job in jobs * 3:
        await rig.add(job, 100)
    await rig.wait_all()

    async def folded() -> bool:
        depth = await stats.depth(rig.conn, None)
        return (depth.get("completed"), depth.get("dead_letter")) == (300, 300)

    await eventually(folded, 10)
    text, _ = await Exposition(rig.parts.metrics, rig.parts.pool)()
    assert b'strait_runs{status="completed"} 300.0' in text


@pytest.mark.soak
async def test_a_delayed_run_starts_on_time(rig: Rig, endpoint: Endpoint) -> None:
    """However short the delay, a trigger wakes the stager for it, and nobody looks again and again: hardly late."""
    job = await rig.job(endpoint.url("/ok"))
    await asyncio.gather(*(service.stop() for service in rig.parts.services if service.name == "lookout"))
    await asyncio.sleep(0.3)  # the stager has gone to sleep, with nothing to wait for
    due = {}
    for millis in (100, 200, 300, 500, 800):
        at = rig.parts.clock.now() + timedelta(milliseconds=millis)
        (run_id,) = await rig.add(job, scheduled_at=at)
        due[run_id] = at
    for run_id, at in due.items():
        await rig.wait(run_id)
        (attempt,) = await rig.attempts(run_id)
        assert timedelta(0) <= attempt["started_at"] - at < LATE
