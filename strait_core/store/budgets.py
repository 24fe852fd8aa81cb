"""What projects may spend, and what they have spent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from strait_core.budget import Budget, Day, bucket_of, day_of
from strait_core.store.pool import Conn, query
from strait_core.store.sdk import Speaker
from strait_core.store.sql import load

_SQL = load("budgets")
# Nobody asks for a day before yesterday's.
KEPT: Final = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Used:
    """What one call of a model used."""

    provider: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_microusd: int


async def _row(conn: Conn, statement: str, values: dict[str, Any]) -> Any:
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL[statement]), values)
    return await cursor.fetchone()


async def put_budget(conn: Conn, project: str, budget: Budget | None, now: datetime) -> None:
    """Set a project's budget; None lifts it."""
    if budget is None:
        await conn.execute(query(_SQL["drop_budget"]), {"project": project})
        return
    values = {"project": project, "daily": budget.daily_microusd, "timezone": budget.timezone, "now": now}
    await conn.execute(query(_SQL["put_budget"]), values)


async def budget(conn: Conn, project: str) -> Budget | None:
    """A project's budget; None when it has none."""
    row = await _row(conn, "budget", {"project": project})
    return None if row is None else Budget(*row)


async def spent(conn: Conn, project: str, day: Day) -> int:
    """What a project has spent in that day."""
    row = await _row(conn, "spent", {"project": project, "since": day.since, "until": day.until})
    return int(row[0])


async def spent_until(conn: Conn, project: str, now: datetime) -> datetime | None:
    """Until when a project may start nothing more, its day's budget being spent; None = it may, or has no budget."""
    found = await budget(conn, project)
    if found is None:
        return None
    day = day_of(now, found.timezone)
    return day.until if await spent(conn, project, day) >= found.daily_microusd else None


async def report(conn: Conn, speaker: Speaker, used: Used, most: int, now: datetime) -> int | None:
    """Add up what a run has used; its cost so far. None: the attempt is over, or it has `most` models already."""
    values = {
        "id": speaker.run_id,
        "attempt": speaker.attempt,
        "key": f"{used.provider}/{used.model}",
        "provider": used.provider,
        "model": used.model,
        "prompt": used.prompt_tokens,
        "completion": used.completion_tokens,
        "cost": used.cost_microusd,
        "most": most,
        "bucket": bucket_of(now),
    }
    row = await _row(conn, "report", values)
    return None if row is None else int(row[0])


async def forget_spending(conn: Conn, now: datetime) -> None:
    """Let go of spending that no day asks for any more."""
    await conn.execute(query(_SQL["forget_spending"]), {"before": now - KEPT})
