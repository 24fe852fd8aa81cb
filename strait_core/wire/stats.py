"""What travels about the whole: depth of the queue, rates, capacity."""

from __future__ import annotations

from msgspec import Struct


class Rates(Struct, kw_only=True):
    """Runs per second, averaged over the window."""

    created: float
    finished: float


class JobLoad(Struct, kw_only=True):
    """A job's share of the runs that are not terminal."""

    job_id: str
    job_slug: str
    queued: int
    executing: int


class Slots(Struct, kw_only=True):
    """Worker capacity over all live processes."""

    used: int
    total: int


class Stats(Struct, kw_only=True):
    """GET /v1/stats; `depth` counts runs by state, `held` queued runs by what holds them; ages are in seconds.

    `breaches` counts deadlines of schedules that were found broken in the last 24 hours.
    """

    depth: dict[str, int]
    ready: int
    held: dict[str, int]
    oldest_queued_age: float | None
    breaches: dict[str, int]
    rate_1m: Rates
    rate_15m: Rates
    workers: int
    slots: Slots
    top_jobs: list[JobLoad]
