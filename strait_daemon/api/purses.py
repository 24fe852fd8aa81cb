"""Whether a project may spend more today: looked up at most once a second, and only for projects that have a budget."""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from typing import Final

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
            kept = api.purses[project] = (asked, await budgets.spent_until(conn, project, now))
    until = kept[1]
    return None if until is None or until <= now else spent_error(project, until, now)


def spent_error(project: str, until: datetime, now: datetime) -> BudgetError:
    """The error for a project that may start nothing before `until`."""
    return BudgetError(
        f"project {project!r} has spent its budget of the day",
        hint=f"the next day begins at {until:%Y-%m-%dT%H:%M:%SZ}; or raise it: strait budgets set {project}",
        retry_after=(until - now).total_seconds(),
    )
