"""What PostgreSQL refuses: the data of one run, or everything for a while. No run is left behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import pytest
from structlog.testing import capture_logs

from strait_core.run import Status
from strait_core.store import jobs
from strait_daemon.services.callbacks import Callbacks
from strait_daemon.worker import worker
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually, proxied, running

# What a test does to a table: raise an error of a given class whenever `when` holds of the new row.
_REFUSE: Final = """
CREATE TABLE public.mood (sour boolean);
INSERT INTO public.mood VALUES ({sour});
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sour FROM public.mood) OR NEW.result LIKE '%poison%' OR NEW.tags ? 'poison' THEN
        RAISE EXCEPTION 'refused by the test' USING ERRCODE = '{code}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON strait.run_history FOR EACH ROW EXECUTE FUNCTION public.refuse();
"""


async def test_a_result_that_the_database_refuses(rig: Rig, endpoint: Endpoint) -> None:
    """The run ends by our own fault, and says so; the others of its batch complete."""
    await rig.rows(_REFUSE.format(code="22023", sour="false"))
    job = await rig.job(endpoint.url("/echo"), max_attempts=1)
    good = await rig.add(job, 30)
    (bad,) = await rig.add(job, payload='"poison"')
    good += await rig.add(job, 30)
    run = await rig.wait(bad)
    assert (run["status"], run["error_class"], run["result"]) == (Status.SYSTEM_FAILED, "system", None)
    assert "refused by the test" in run["error"]
    assert {(await rig.wait(run_id))["status"] for run_id in good} == {Status.COMPLETED}


@pytest.mark.parametrize(
    "code", ["25006", "53100", "42501", "57P03", "XX000"], ids=["read-only", "disk full", "rights", "starting", "bug"]
)
async def test_a_database_that_refuses_everything_for_a_while(rig: Rig, endpoint: Endpoint, code: str) -> None:
    """A server that takes no writes (a standby, a full disk, rights withdrawn) is waited for, and no ending is lost."""
    await rig.rows(_REFUSE.format(code=code, sour="true"))
    job = await rig.job(endpoint.url("/ok"))
    run_ids = await rig.add(job, 10)
    await eventually(lambda: len(endpoint.calls) == 10)
    # Three tries at the least.
    await asyncio.sleep(0.5)
    assert {(await rig.run(run_id))["status"] for run_id in run_ids} == {Status.EXECUTING}
    await rig.rows("UPDATE public.mood SET sour = false")
    assert {(await rig.wait(run_id))["status"] for run_id in run_ids} == {Status.COMPLETED}
    assert set(endpoint.pairs.values()) == {1}


async def test_a_last_word_that_is_refused_is_said_again(
    rig: Rig, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of a live worker that no ending can be written for just now ends once one can: by our fault."""
    monkeypatch.setattr(worker, "REFUSED_SECS", 0.1)
    await rig.rows(_REFUSE.format(code="22023", sour="true"))
    (run_id,) = await rig.add(await rig.job(endpoint.url("/ok"), max_attempts=1))
    with capture_logs() as said:
        await eventually(lambda: sum(line["event"] == "ending_refused" for line in said) > 2)
    assert (await rig.run(run_id))["status"] == Status.EXECUTING
    await rig.rows("UPDATE public.mood SET sour = false")
    assert (await rig.wait(run_id))["status"] == Status.SYSTEM_FAILED
    assert len(endpoint.calls) == 1


async def test_an_accepted_run_that_cannot_be_ended_keeps_no_other(rig: Rig, endpoint: Endpoint) -> None:
    """What the database refuses of one whose time is over is left to the next look; the others end on time."""
    await rig.rows(_REFUSE.format(code="22023", sour="false"))
    await asyncio.gather(*(service.stop() for service in rig.parts.services if service.name == "callbacks"))
    job = await rig.job(endpoint.url("/ok"), completion="callback", timeout_secs=1, max_attempts=1)
    (bad,), (good,) = await rig.add(job, tags={"poison": ""}), await rig.add(job)
    parts, over = rig.parts, "SELECT 1 FROM strait.callbacks HAVING count(*) = 2 AND max(deadline_at) <= %s"
    await eventually(lambda: rig.rows(over, parts.clock.now()))
    watch = Callbacks(parts.pool, parts.ender, parts.clock, stale_after=timedelta(seconds=60), beat_secs=1)
    await watch.tick()
    assert [(await rig.run(run_id))["status"] for run_id in (bad, good)] == [Status.EXECUTING, Status.TIMED_OUT]
    await rig.rows("DROP TRIGGER refuse ON strait.run_history")
    await watch.tick()
    assert (await rig.run(bad))["status"] == Status.TIMED_OUT


@pytest.mark.parametrize("sour", [False, True], ids=["ended at once", "refused at first"])
async def test_a_run_whose_version_is_missing(rig: Rig, endpoint: Endpoint, sour: bool) -> None:
    """What cannot even be dispatched fails by our fault before any call, however long that cannot be written."""
    claims = rig.parts.worker
    assert claims is not None
    await rig.rows(_REFUSE.format(code="53100", sour=sour))
    job = await rig.job(endpoint.url("/ok"))
    await rig.rows("DELETE FROM strait.job_versions WHERE job_id = %s", job.id)
    (run_id,) = await rig.add(job)

    async def seqs() -> bool:
        """Claimed, and given back more than once."""
        claims.wake()
        return int((await rig.run(run_id))["seq"]) > 4

    if sour:
        await eventually(seqs)
        await rig.rows("UPDATE public.mood SET sour = false")
    run = await rig.wait(run_id)
    assert (run["status"], run["error"]) == (Status.SYSTEM_FAILED, "system: version 1 of the job is missing")
    assert endpoint.calls == []
    # It has begun, for claims and starts go together, and is over with the run.
    last = (await rig.attempts(run_id))[-1]
    assert (last["outcome"], last["error"], last["http_status"]) == (Status.SYSTEM_FAILED, run["error"], None)


async def test_claims_that_were_heard_are_not_lost_by_what_comes_after(migrated: str, endpoint: Endpoint) -> None:
    """A claim that also sends gated entries away loses its connection while doing so: what it claimed is dispatched."""
    async with running(migrated, MODE="api") as api:
        plain, gated = [await api.job(endpoint.url("/ok"), slug=slug) for slug in ("plain", "gated")]
        run_ids = [(await api.add(job))[0] for job in (plain, gated) * 10][::2]
        await jobs.pause_job(api.conn, gated.id, None, api.parts.clock.now())
    async with proxied(migrated) as proxy:
        lost = proxy.lose_answer(b"SELECT job_id FROM near)) AND j.lane <> 0")
        async with running(proxy.url, migrated) as rig:
            await asyncio.wait_for(lost.wait(), 10)
            for run_id in run_ids:
                assert (await rig.wait(run_id))["status"] == Status.COMPLETED
            await rig.stop()
            await rig.check()
