"""The poison pill: the same error too often in a row gives a run up, whatever attempts it has left."""

from __future__ import annotations

from typing import Any

from strait_core.run import Status
from strait_core.store import runs
from strait_daemon.services.reaper import lost_move
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually
from tests.support.scripted import Script, Visit, answer, scripted


def saying(*answers: tuple[str, str]) -> Script:
    """A script of (status, body) for one attempt after the other; the last one repeats."""

    async def script(visit: Visit) -> None:
        number = int(dict(visit.headers)["X-Attempt"])
        status, body = answers[min(number, len(answers)) - 1]
        await visit.say(answer(status, body.encode()))

    return script


async def test_the_same_error_so_often_in_a_row_is_the_end(rig: Rig) -> None:
    """Numbers and ids in the text make no difference; seven attempts are left unspent."""
    errors = [("500 No", f"order {n} failed") for n in (17, 18, 19)]
    async with scripted(saying(*errors)) as endpoint:
        job = await rig.job(endpoint.url, max_attempts=10, retry_strategy="fixed", poison_pill_threshold=3)
        (run_id,) = await rig.add(job)
        run = await rig.wait(run_id)
    assert (run["status"], run["attempt"]) == (Status.DEAD_LETTER, 3)
    assert run["error"] == "HTTP 500: order 19 failed (given up: the same error 3 times in a row)"
    assert [a["outcome"] for a in await rig.attempts(run_id)] == ["error", "error", "dead_letter"]


async def test_another_error_begins_the_count_anew(rig: Rig) -> None:
    """A, B, B with a threshold of 2: the third attempt is the last; without a threshold all attempts are spent."""
    async with scripted(saying(("500 No", "first"), ("503 No", "second"))) as endpoint:
        changes: dict[str, Any] = {"max_attempts": 4, "retry_strategy": "fixed", "breaker_threshold": 0}
        job = await rig.job(endpoint.url, poison_pill_threshold=2, **changes)
        plain = await rig.job(endpoint.url, slug="plain", **changes)
        (poisoned,), (patient,) = await rig.add(job), await rig.add(plain)
        assert (await rig.wait(poisoned))["attempt"] == 3
        assert (await rig.wait(patient))["attempt"] == 4


async def test_a_threshold_of_one_takes_the_first_error(rig: Rig) -> None:
    """Timeouts count like any other error; the state is dead_letter, not timed_out."""
    async with scripted(lambda visit: visit.hung_up()) as endpoint:
        job = await rig.job(endpoint.url, max_attempts=3, timeout_secs=1, poison_pill_threshold=1)
        (run_id,) = await rig.add(job)
        run = await rig.wait(run_id)
    assert (run["status"], run["attempt"], run["error_class"]) == (Status.DEAD_LETTER, 1, "timeout")


async def test_a_lost_worker_neither_counts_nor_begins_the_count_anew(rig: Rig, endpoint: Endpoint) -> None:
    """Error, lost, the same error: two in a row."""

    async def script(visit: Visit) -> None:
        if dict(visit.headers)["X-Attempt"] == "2":
            await visit.hung_up()
        await visit.say(answer("500 No", b"again"))

    async with scripted(script) as bad:
        job = await rig.job(bad.url, max_attempts=9, retry_strategy="fixed", poison_pill_threshold=2)
        (run_id,) = await rig.add(job)
        await eventually(lambda: len(bad.visits) == 2)
        (row,) = await runs.held_by_worker(rig.conn, (await rig.run(run_id))["worker_id"], 10)
        assert await rig.parts.writer.write(lost_move(row, job.spec, rig.parts.clock.now()))
        rig.parts.bus.runs_taken([run_id])
        run = await rig.wait(run_id)
    assert [a["outcome"] for a in await rig.attempts(run_id)] == ["error", "lost", "dead_letter"]
    assert run["status"] == Status.DEAD_LETTER


async def test_a_replay_begins_the_count_anew(rig: Rig) -> None:
    """The first error after it is one, however many came before."""
    async with scripted(saying(("500 No", "always"))) as bad:
        job = await rig.job(bad.url, max_attempts=9, retry_strategy="fixed", poison_pill_threshold=2)
        (run_id,) = await rig.add(job)
        assert (await rig.wait(run_id))["attempt"] == 2
        async with rig.conn.transaction():
            assert await runs.replay(rig.conn, run_id, rig.parts.clock.now())
        rig.parts.bus.wake()
        assert (await rig.wait(run_id))["attempt"] == 4
