"""Old history leaves while everything goes on, and what is not old, or not over, stays.

CI: 6,000 ended runs over ten weeks; a soak: 6,250,000, of which 5,000,000 leave, and nobody may be kept waiting for a
second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import product
from statistics import median
from typing import Final
from uuid import UUID

import pytest

from strait_core.run import Status
from strait_core.store import claims, history, queue, runs
from strait_core.store.pool import Conn, fix_plans
from strait_core.store.queue import Finish, Start
from strait_core.store.runs import RunFilter
from tests.services.stage import Stage
from tests.store.scene import NO_MARKS
from tests.support.figures import Figures
from tests.support.sizes import SOAK, size

# Four of five are old.
ROWS: Final = size(ci=6_000, soak=6_250_000)
# In CI only what a lock would do is found: the machine is shared.
STALL_SECS: Final = size(ci=5.0, soak=1.0)
STOCK: Final = size(ci=60, soak=4_000)
PAUSE_SECS: Final = size(ci=0.02, soak=1.0)
# What the median claim may cost beside a drop, of what it costs without one.
SLOWER: Final = 1.1
# How many weeks before the present, and what share of the rows ended then: a week of one percent, one of forty.
WEEKS: Final = {"short": {9: 0.01, 8: 0.4, 7: 0.05, 6: 0.05}, "long": {18: 0.01, 17: 0.38, 16: 0.05, 15: 0.05}}
# By table, which columns of a copy are its own: whose it is, and when it was.
OWN: Final = {
    "run_history": ("id", "finished_at"),
    "attempts": ("run_id", "finished_at"),
    "run_events": ("run_id", "at"),
    "run_logs": ("run_id", "at"),
    "schedule_fires": ("schedule_id", "fire_at"),
}
_MODELS: Final = """
INSERT INTO strait.run_events SELECT id, 1, 'cancel', 'canceled', 0, finished_at, NULL, keep FROM strait.run_history;
INSERT INTO strait.run_logs (run_id, seq, attempt, at, level, message, keep)
    SELECT id, 1, 1, finished_at, 'info', 'hello', keep FROM strait.run_history;
INSERT INTO strait.schedule_fires SELECT id, finished_at, finished_at, 'cron', id, NULL, 1, finished_at, keep
    FROM strait.run_history
"""


async def ended_long_ago(stage: Stage) -> None:
    """Runs of both classes that ended in weeks gone by, with all that belongs to them: copies of one of each."""
    scene = stage.scene
    job = await scene.job(max_attempts=1)
    for status in (Status.COMPLETED, Status.DEAD_LETTER):
        assert await scene.finish(await scene.executing(job), status)
    await scene.rows(_MODELS)
    for keep, weeks in WEEKS.items():
        for age, share in weeks.items():
            for table in OWN:
                count = int(ROWS * share) if table == "run_history" else max(1, int(ROWS * share / 10))
                await copies(stage, table, keep, age, count)
            ended = "completed" if keep == "short" else "dead_letter"
            moves = f'[["p", "{job.id}", "", "{ended}", {int(ROWS * share)}]]'
            await scene.rows("INSERT INTO strait.stats_deltas (at, moves) VALUES (%s, %s)", scene.now, moves)


async def copies(stage: Stage, table: str, keep: str, age: int, count: int) -> None:
    scene = stage.scene
    then = scene.now - timedelta(weeks=age)
    await history.ensure_weeks(scene.conn, table, keep, [then], scene.now)
    whose, when = OWN[table]
    columns = await scene.rows(
        "SELECT column_name AS name FROM information_schema.columns WHERE table_schema = 'strait' AND table_name = %s",
        table,
    )
    names = [row["name"] for row in columns]
    own = {
        whose: f"(lpad(to_hex({age} * 10000000 + n), 12, '0') || '-7000-8000-000000000000')::uuid",
        when: f"'{then}'",
    }
    if table == "run_history":
        own["created_at"] = own["started_at"] = own[when]
    await scene.rows(
        f"INSERT INTO strait.{table} ({', '.join(names)}) SELECT {', '.join(own.get(name, name) for name in names)}"
        f" FROM (SELECT * FROM strait.{table} WHERE keep = '{keep}' AND {when} = '{scene.now}' LIMIT 1) model,"
        f" generate_series(1, {count}) n"
    )


class Others:
    """What everybody else does meanwhile, and how long each of it took: with a drop beside it, and without."""

    def __init__(self, stage: Stage, stock: Sequence[UUID]) -> None:
        self.stage = stage
        self.stock = list(stock)
        self.took: dict[str, list[float]] = {}

    async def timed(self, what: str, doing: Awaitable[object]) -> None:
        began = time.monotonic()
        await doing
        self.took.setdefault(what, []).append(time.monotonic() - began)

    async def work(self, conn: Conn) -> None:
        """Queue, claim, start and end one run after the other."""
        await fix_plans(conn)
        scene = self.stage.scene
        job = await scene.job(slug="live")
        while True:
            await queue.insert_runs(conn, [scene.new_run(job)], scene.now)
            began = time.monotonic()
            claimed = (await claims.claim(conn, scene.worker, 10, NO_MARKS, [], scene.now)).runs
            self.took.setdefault("claim", []).append(time.monotonic() - began)
            await queue.start_if_held(conn, [Start(run.id, run.attempt, run.lease) for run in claimed], scene.now)
            live = [run._replace(attempt=run.attempt + 1) for run in claimed]
            ends: list[Finish] = [scene.ending(run) for run in live]
            await self.timed("finish", queue.finish_if_held(conn, ends, scene.now))

    async def look(self, conn: Conn) -> None:
        """List the newest runs again and again."""
        while True:
            await self.timed("list", runs.list_runs(conn, RunFilter(), limit=50, before=None))

    async def replay(self, conn: Conn) -> None:
        """Bring back one run after the other that ended today."""
        while self.stock:
            await self.timed("replay", runs.replay(conn, self.stock.pop(), self.stage.scene.now))
            await asyncio.sleep(0)


@asynccontextmanager
async def others(stage: Stage, stock: Sequence[UUID]) -> AsyncIterator[Others]:
    """All of them at work until the end of the block; one that fails fails the test."""
    them = Others(stage, stock)
    conns = [await stage.scene.other() for _ in range(3)]
    tasks = [
        asyncio.create_task(each(conn)) for each, conn in zip((them.work, them.look, them.replay), conns, strict=True)
    ]
    yield them
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert result is None or isinstance(result, asyncio.CancelledError), result


async def stocked(stage: Stage) -> list[UUID]:
    """Runs that ended badly today."""
    scene = stage.scene
    job = await scene.job(slug="stock", max_attempts=1)
    await scene.add(job, STOCK)
    live = await scene.start(*await scene.claim(STOCK))
    await queue.finish_if_held(scene.conn, [scene.ending(run, Status.DEAD_LETTER) for run in live], scene.now)
    return [run.id for run in live]


@pytest.mark.soak
@pytest.mark.slow
async def test_old_history_leaves_and_keeps_nobody_waiting(stage: Stage, figures: Figures) -> None:
    """Small weeks and large ones, in turns with quiet; what goes on, what is recent and what came back stays."""
    scene = stage.scene
    await ended_long_ago(stage)
    stock = await stocked(stage)
    (old,) = await scene.rows(
        "SELECT id FROM strait.run_history WHERE finished_at < %s AND keep = 'long' LIMIT 1",
        scene.now - timedelta(weeks=1),
    )
    assert await scene.replay(old["id"])
    (back,) = await scene.claim(1)
    assert back.id == old["id"]
    dropper = await scene.other()
    took: dict[int, float] = {}
    beside: dict[str, list[float]] = {}
    apart: dict[str, list[float]] = {}
    async with others(stage, stock) as them:
        for younger, weeks in ((0, 1), (1, 2)):
            took[weeks] = 0.0
            for (keep, ages), table in product(WEEKS.items(), OWN):
                until = history.week_of(scene.now - timedelta(weeks=list(ages)[younger] - 1))
                them.took, began = beside, time.monotonic()
                await history.drop_before(dropper, table, keep, until)
                secs = time.monotonic() - began
                took[weeks] += secs
                # Quiet for as long as that was loud, so that whatever else the machine does hits both alike.
                them.took = apart
                await asyncio.sleep(max(secs, PAUSE_SECS))
        them.took = beside
        await stage.retention().tick()
    for what in ("claim", "finish", "list", "replay"):
        told = [
            f"{name}: median {median(times) * 1000:.1f} ms, worst {max(times) * 1000:.0f} ms"
            for name, times in (("drop", beside.get(what, [0])), ("quiet", apart.get(what, [0])))
        ]
        figures.note(f"{what} beside a", *told)
        assert max(beside.get(what, [0])) < STALL_SECS, (what, told)
    figures.note(
        f"drop of weeks with {ROWS // 50:,} and {int(ROWS * 0.78):,} runs", f"{took[1]:.2f} s, {took[2]:.2f} s"
    )
    if SOAK:
        assert median(beside["claim"]) <= SLOWER * median(apart["claim"])
    for table, (_, when) in OWN.items():
        left = await scene.rows(
            f"SELECT count(*) AS n FROM strait.{table} WHERE {when} < %s", scene.now - timedelta(weeks=1)
        )
        assert left == [{"n": 0}], table
    assert await scene.status(back.id) == Status.DEQUEUED
    assert await scene.broken() == []
