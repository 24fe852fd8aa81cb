"""Whether a project may spend more today: looked up at most once a second, and only for projects that have a budget."""

from __future__ import annotations

from time import monotonic
from typing import Final

from strait_core.budget import day_of
from strait_core.errors import BudgetError
from strait_core.store import budgets
from strait_core.store.jobs import StoredJob
from strait_daemon.api.context import Api

KEPT_SECS: Final = 1.0
MOST_PROJECTS: Final = 4_096


async def exhausted(api: Api, job: StoredJob) -> BudgetError | None:
    """The error for a trigger that comes too late in the day; None while there is money left, or no budget."""
    if not job.budgeted:
        return None
    project, now = job.spec.project_id, api.deps.clock.now()
    kept = api.purses.get(project)
    if kept is None or monotonic() - kept[0] >= KEPT_SECS:
        if len(api.purses) >= MOST_PROJECTS:
            api.purses.clear()
        asked = monotonic()
        async with api.connection() as conn:
            budget = await budgets.budget(conn, project)
            day = day_of(now, budget.timezone) if budget is not None else None
            over = (
                budget is not None
                and day is not None
                and await budgets.spent(conn, project, day) >= budget.daily_microusd
            )
        kept = api.purses[project] = (asked, day.until if day is not None and over else None)
    until = kept[1]
    if until is None or until <= now:
        return None
    return BudgetError(
        f"project {project!r} has spent its budget of the day",
        hint=f"the next day begins at {until:%Y-%m-%dT%H:%M:%SZ}; or raise it: strait budgets set {project}",
        retry_after=(until - now).total_seconds(),
    )
