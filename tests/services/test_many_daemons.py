"""Several daemons' tickers over one database: wall clocks apart, dropped at any moment, and each tick decided once.

CI: 60 schedules, a fifth of them of workflows, for 10 virtual minutes, a year of one; a soak: 500 for 30 minutes.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Final

import pytest

from strait_core.store.owners import Kind
from strait_core.store.pool import Pool, make_pool
from strait_core.workflow.definition import StepType
from strait_daemon.clock import DatabaseClock
from strait_daemon.services.ticker import Ticker
from tests.services.stage import Stage
from tests.services.test_flow_ticks import place
from tests.services.test_ticker import scheduled
from tests.store.flow import Flow
from tests.support.clock import VirtualClock
from tests.support.sizes import SEED, size

SCHEDULES: Final = size(ci=60, soak=500)
MINUTES: Final = size(ci=10, soak=30)
DAEMONS: Final = 3
# The step of workflows that need no job.
NAP: Final = {"step_ref": "nap", "step_type": StepType.SLEEP, "sleep_duration": "1d"}


class SkewedClock:
    """A daemon's clock: what it was told by the database, carried by a local clock that is wrong by hours."""

    def __init__(self, database: VirtualClock, skew: timedelta) -> None:
        self._clock = DatabaseClock()
        self._clock.first(database.now() + skew)
        self._skew = skew
        self._database = database

    async def reread(self) -> None:
        """Correct the reckoning, as the daemon's clock service does."""

        async def read():
            return self._database.now()

        await self._clock.reread(read)

    def now(self):
        return self._clock.now()


class Daemon:
    """One daemon's ticker, on connections of its own."""

    def __init__(self, stage: Stage, pool: Pool, skew: timedelta) -> None:
        self.pool = pool
        self.clock = SkewedClock(stage.clock, skew)
        self.tickers = [
            Ticker(
                kind,
                pool,
                self.clock,
                stage.scene.new_id,
                wake=lambda: None,
                changed=lambda _: None,
                taken=lambda _: None,
                brought=lambda _: None,
            )
            for kind in Kind
        ]
        self.task: asyncio.Task[list[float]] | None = None

    async def tick(self) -> list[float]:
        """One look at either kind of schedules, side by side."""
        return await asyncio.gather(*(ticker.tick() for ticker in self.tickers))

    async def drop(self) -> None:
        """Cut off in the middle of whatever it does, connections and all."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.pool.close(timeout=5)


async def begin(stage: Stage, number: int) -> Daemon:
    pool = make_pool(stage.scene.url, pooled=False, most=2)
    await pool.open(wait=True)
    return Daemon(stage, pool, timedelta(hours=(-1, 0, 1)[number]))


@pytest.mark.soak
async def test_three_daemons_come_and_go(stage: Stage) -> None:
    """Every schedule has each of its minutes once: a run, or a recorded skip, whoever died over it."""
    chance = random.Random(SEED)
    flow = Flow(stage.scene)
    for number in range(SCHEDULES):
        rest = {"overlap_policy": ("allow", "skip")[number % 2], "misfire_policy": "all"}
        if number % 5:
            await scheduled(stage, slug=f"job-{number}", **rest)
        else:
            await place(stage, await flow.workflow(NAP, slug=f"flow-{number}", cron="* * * * *", **rest))
    first = stage.clock.now()
    daemons = [await begin(stage, number) for number in range(DAEMONS)]
    for _ in range(MINUTES):
        stage.later(minutes=1)
        for number, daemon in enumerate(daemons):
            await daemon.clock.reread()
            daemon.task = asyncio.create_task(daemon.tick())
            if chance.random() < 0.4:
                await asyncio.sleep(chance.uniform(0, 0.02))
                await daemon.drop()
                daemons[number] = await begin(stage, number)
        await asyncio.gather(*(one.task for one in daemons if one.task is not None))
    await daemons[0].clock.reread()
    while 0.0 in await daemons[0].tick():
        pass
    for daemon in daemons:
        await daemon.drop()
    rows = await stage.scene.rows("SELECT schedule_id, fire_at, ticks FROM strait.schedule_fires")
    ticks = Counter((row["schedule_id"], row["fire_at"]) for row in rows)
    assert set(ticks.values()) == {1}
    assert sum(row["ticks"] for row in rows) == SCHEDULES * MINUTES
    assert {at for _, at in ticks} == {first + timedelta(minutes=n) for n in range(1, MINUTES + 1)}
    (made,) = await stage.scene.rows(
        "SELECT count(*) AS n, count(DISTINCT (owner, fire_at)) AS ticks FROM ("
        "SELECT job_id AS owner, fire_at FROM strait.runs"
        " UNION ALL SELECT workflow_id, fire_at FROM strait.workflow_runs) made"
    )
    (told,) = await stage.scene.rows("SELECT count(run_id) AS n FROM strait.schedule_fires")
    assert made["n"] == made["ticks"] == told["n"]
    assert await stage.scene.broken() == []


async def test_a_year_of_schedules_in_seconds(stage: Stage) -> None:
    """The clock leaps from tick to tick: 365 of them, through both changes of the clocks, none missed, none twice."""
    await scheduled(stage, "30 2 * * *", timezone="America/New_York")
    ticker = Ticker(
        Kind.JOB,
        stage.pool,
        stage.clock,
        stage.scene.new_id,
        wake=stage.wake,
        changed=stage.noted,
        taken=stage.noted,
        brought=lambda _: None,
    )
    for day in range(365):
        (schedule,) = await stage.scene.rows("SELECT due_at FROM strait.schedules")
        stage.clock.at = stage.scene.now = schedule["due_at"]
        if day % 21 == 0:
            # Partitions are made for the four weeks to come.
            await stage.retention(0, 0).tick()
        await ticker.tick()
    rows = await stage.scene.rows("SELECT fire_at, triggered_by FROM strait.schedule_fires ORDER BY fire_at")
    assert [row["triggered_by"] for row in rows] == ["cron"] * 365
    gaps = Counter((b["fire_at"] - a["fire_at"]) / timedelta(hours=1) for a, b in pairwise(rows))
    # The night without 02:30 fires at the jump, half an hour early; the one with two takes the first.
    assert gaps == {24.0: 361, 23.5: 2, 25.0: 1}
