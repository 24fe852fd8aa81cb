"""Workflow runs that the end of a run starts, in the transaction that ends it."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from strait_core import ids
from strait_core.completion import TRIGGERED_BY, Onward
from strait_core.store import budgets, targets, workflow_runs
from strait_core.store.completions import SPENT, Refusal, depth_after, payload_after, warn
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_runs import NewWorkflowRun


async def start(conn: Conn, row: dict[str, Any], onward: Onward, now: datetime, brought: Brought | None) -> None:
    """Start the workflow that an ending names; Refusal says why it takes no run.

    `row` is the run that has ended. What has come of it is told in `brought`; None = nobody is told before he looks.
    """
    depth = depth_after(row)
    workflow = await targets.workflow_named(conn, row["project_id"], onward.ref)
    if workflow is None:
        raise Refusal("there is no such workflow")
    if not workflow.enabled or workflow.paused:
        raise Refusal(f"the workflow is {'paused' if workflow.enabled else 'disabled'}")
    if await budgets.spent_until(conn, row["project_id"], now) is not None:
        raise Refusal(SPENT)
    text, missing = await payload_after(row, onward)
    new = NewWorkflowRun(ids.uuid7(now, random.getrandbits), text, {}, {}, (), TRIGGERED_BY, lineage_depth=depth)
    more = Brought()
    await workflow_runs.trigger(conn, workflow, new, now, more)
    for path in missing:
        await warn(conn, row, f"{onward.field}: {{{{{path}}}}} of the payload mapping led nowhere")
    if brought is not None:
        brought.add(more)
