"""What must hold after every fault: the promises, read from the database and from what the endpoint saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from strait_core import ids
from strait_core.run import TERMINAL
from strait_core.store.invariants import Violation, violations
from strait_core.store.pool import connect
from tests.faults.load import Load
from tests.support.daemon import FAST
from tests.support.endpoint import Endpoint
from tests.support.sizes import size
from tests.support.waiting import eventually

# A little longer than a rate looks back.
STEADY_SECS: Final = size(ci=0.0, soak=2.5)
_RUNS = "SELECT id, status, attempt, attempt_base, max_attempts FROM strait."


def stored(database: str) -> list[dict[str, Any]]:
    """Every run there is, active and past."""
    with psycopg.connect(database, row_factory=dict_row) as conn:
        return conn.execute(f"{_RUNS}runs UNION ALL {_RUNS}run_history".encode()).fetchall()


def states(database: str) -> Counter[str]:
    """How many runs there are in each state."""
    return Counter(run["status"] for run in stored(database))


def wait_for_all(database: str, count: int | None = None, seconds: float = 60) -> list[dict[str, Any]]:
    """Wait until every stored run (and at least `count`) is in a terminal state."""

    def ended() -> bool:
        runs = stored(database)
        return len(runs) >= (count or 0) and all(run["status"] in TERMINAL for run in runs)

    eventually(ended, seconds, lambda: f"the runs are {dict(states(database))}")
    return stored(database)


def expect_promises_kept(database: str, endpoint: Endpoint) -> None:
    """No (run, attempt) twice at the endpoint, no attempt over its bound, and no invariant broken."""
    assert [pair for pair, times in endpoint.pairs.items() if times > 1] == []
    over = [run for run in stored(database) if run["attempt"] - run["attempt_base"] > run["max_attempts"]]
    assert over == []
    expect_invariants(database)


def expect_invariants(database: str) -> None:
    """No invariant of the stored runs is broken."""
    assert asyncio.run(_violations(database)) == []


def expect_nothing_lost(database: str, load: Load, endpoint: Endpoint) -> None:
    """Whatever was accepted is stored and completed, and every promise was kept on the way."""
    assert {said for said in load.refused if not said.startswith("503 ")} == set()
    wait_for_all(database)
    assert set(states(database)) == {"completed"}
    assert {uuid_of(run) for run in load.accepted} <= {run["id"] for run in stored(database)}
    expect_promises_kept(database, endpoint)


def rate(endpoint: Endpoint, over: float = 2.0) -> float:
    """Calls a second, of late."""
    since = monotonic() - over
    return sum(call.at > since for call in endpoint.calls[-5_000:]) / over


def rate_before(endpoint: Endpoint) -> float:
    """Calls a second before a fault, once they have come at their rate for a while (in CI: as it is)."""
    began = monotonic()
    eventually(lambda: monotonic() - began >= STEADY_SECS)
    return rate(endpoint)


def expect_recovery(endpoint: Endpoint, before: float) -> str:
    """Within 15 s calls come at 95 % of the rate before (half of it in CI, where other tests share the machine).

    Only what comes from now on counts, for two seconds (a fifth of one in CI).
    """
    began = monotonic()
    wanted, least = before * size(ci=0.5, soak=0.95), size(ci=0.2, soak=2.0)

    def since() -> float:
        """The rate of late, but from no longer ago than this wait."""
        return rate(endpoint, min(2.0, monotonic() - began))

    eventually(
        lambda: monotonic() - began >= least and since() >= wanted,
        15,
        lambda: f"{since():.0f} calls a second, {before:.0f} before",
    )
    return f"{since():.0f} calls a second after {monotonic() - began:.1f} s, {before:.0f} before"


async def _violations(database: str) -> list[Violation]:
    now = datetime.now(UTC)
    silent = timedelta(seconds=float(FAST["STALE_THRESHOLD"]) + float(FAST["REAPER_INTERVAL"]) + 1)
    conn = await connect(database)
    try:
        return await violations(conn, now, dead_before=now - silent)
    finally:
        await conn.close()


def uuid_of(run_id: str) -> UUID:
    """A run's id as the database has it."""
    found = ids.parse(ids.Prefix.RUN, run_id)
    assert found is not None
    return found
