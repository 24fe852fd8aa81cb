"""What travels over HTTP about why a run is not running."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from strait_core.reasons import Code
from strait_core.run import Status


class Why(Struct, kw_only=True):
    """One reason: a stable code, the same in words, until when (null: nobody knows), and the runs that it is about.

    `count` is a number that the text speaks of: runs ahead in the queue (no more than 1,000 are counted), or slots.
    """

    code: Code
    text: str
    until: datetime | None
    run_ids: list[str]
    count: int | None


class Explanation(Struct, kw_only=True):
    """GET /v1/runs/{run}/explain: everything that keeps the run from running; for one that runs or has ended, that."""

    run_id: str
    job_slug: str
    status: Status
    reasons: list[Why]
