"""New runs on their way in: together, each answered after its own commit, all or nothing where that was promised."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest
from psycopg.errors import DiskFull
from structlog.testing import capture_logs

from strait_core.errors import UnavailableError
from strait_core.run import Status
from strait_core.store import jobs
from tests.support.rig import Rig, eventually, proxied, running


async def stored(rig: Rig) -> int:
    """How many runs the database has."""
    return int((await rig.rows("SELECT count(*) AS n FROM strait.all_runs"))[0]["n"])


async def test_concurrent_triggers_share_statements(migrated: str) -> None:
    """A thousand at once are all stored, in their order, in a few inserts."""
    async with running(migrated, MODE="api") as rig:
        job = await rig.job("http://127.0.0.1:9/")
        new = [rig.new_run(job) for _ in range(1_000)]
        assert all(await asyncio.gather(*map(rig.parts.intake.add, new)))
        rows = await rig.rows("SELECT run_id FROM strait.ready ORDER BY ready_seq")
        assert [row["run_id"] for row in rows] == [run.id for run in new]
        (deltas,) = await rig.rows("SELECT count(*) AS n FROM strait.stats_deltas")
        assert deltas["n"] <= 5
        await rig.check()


async def test_a_job_that_has_changed_refuses_only_its_own_runs(migrated: str) -> None:
    """Paused, disabled, deleted or of another version meanwhile: those are told so, the rest of the batch is stored."""
    async with running(migrated, MODE="api") as rig:
        parts, now = rig.parts, rig.parts.clock.now()
        good, paused, deleted, changed = [
            await rig.job("http://127.0.0.1:9/", slug=slug) for slug in ("good", "paused", "deleted", "changed")
        ]
        new = [rig.new_run(job) for job in (good, paused, good, deleted, changed, good)]
        await jobs.pause_job(rig.conn, paused.id, None, now)
        await jobs.delete_job(rig.conn, deleted.id, now)
        spec = replace(changed.spec, name="Other")
        await jobs.update_job(rig.conn, changed, spec, parts.new_id(), now, enabled=True)
        answers = await asyncio.gather(*map(parts.intake.add, new))
        assert [bool(answer) for answer in answers] == [True, False, True, False, False, True]
        assert await stored(rig) == 3
        assert not await parts.intake.add_all([rig.new_run(good) for _ in range(600)] + [rig.new_run(paused)])
        assert await stored(rig) == 3
        assert await parts.intake.add_all([rig.new_run(good) for _ in range(1_000)])
        assert await stored(rig) == 1_003
        await rig.check()


async def test_what_the_database_refuses_is_alone_with_it(migrated: str) -> None:
    """One run that it does not take fails by itself; the hundred around it are stored."""
    async with running(migrated, MODE="api") as rig:
        job = await rig.job("http://127.0.0.1:9/")
        new = [rig.new_run(job) for _ in range(100)]
        new[50] = msgspec.structs.replace(new[50], tags={"bad": "nul \0"})
        answers = await asyncio.gather(*map(rig.parts.intake.add, new), return_exceptions=True)
        assert [at for at, answer in enumerate(answers) if isinstance(answer, Exception)] == [50]
        assert await stored(rig) == 99
        await rig.check()


async def test_payloads_are_kept_to_the_letter(migrated: str) -> None:
    """Escapes that no jsonb holds, numbers that no double holds, repeated keys and blanks come back as they went."""
    async with running(migrated, MODE="api") as rig:
        job = await rig.job("http://127.0.0.1:9/")
        payload = '{ "a":"\\u0000\\ud800", "a" : 1e400, "n":123456789012345678901234567890.10 , "\u00e9":"\U0001f600"}'
        (run_id,) = await rig.add(job, payload=payload)
        assert (await rig.run(run_id))["payload"] == payload


async def test_an_idle_connection_that_was_closed_costs_nothing(migrated: str) -> None:
    """The server was restarted between two triggers: the second finds out before it sends anything."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated, MODE="api") as rig:
        job = await rig.job("http://127.0.0.1:9/")
        for _ in range(3):
            await rig.add(job)
            assert await rig.parts.intake.add_all([rig.new_run(job)])
            proxy.cut()
        await rig.add(job)


@pytest.mark.parametrize("bulk", [False, True])
async def test_the_log_says_why_nothing_was_stored(migrated: str, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    """The caller hears that the database did not take it; whoever runs the server finds the database's own words."""

    async def refuse(*_args: object) -> None:
        raise DiskFull("could not extend file: No space left on device")

    monkeypatch.setattr(
        "strait_daemon.intake.store_bulk" if bulk else "strait_core.store.queue.insert_all_or_some", refuse
    )
    async with running(migrated, MODE="api") as rig:
        run = rig.new_run(await rig.job("http://127.0.0.1:9/"))
        with capture_logs() as logs, pytest.raises(UnavailableError, match="did not take"):
            await (rig.parts.intake.add_all([run]) if bulk else rig.parts.intake.add(run))
    (line,) = [line for line in logs if line["event"] == "runs_not_stored"]
    assert line["error"] == "DiskFull: could not extend file: No space left on device"


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_database_that_is_away_is_said_at_once(migrated: str, bulk: bool) -> None:
    """Refused connections fail fast, for everybody who waits, and the next trigger after the outage works."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated, MODE="api") as rig:
        job = await rig.job("http://127.0.0.1:9/")
        await rig.add(job)
        proxy.refuse()
        new = [rig.new_run(job) for _ in range(50)]
        intake = rig.parts.intake
        calls = [intake.add_all([run]) for run in new[:5]] if bulk else [intake.add(run) for run in new]
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {UnavailableError}
        proxy.refuse(False)

        async def works() -> bool:
            try:
                return bool(await intake.add(rig.new_run(job)))
            except UnavailableError:
                return False

        await eventually(works, 5)
        assert (await rig.run(rig.made[0]))["status"] == Status.QUEUED
