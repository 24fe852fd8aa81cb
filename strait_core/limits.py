"""Hard limits of a job: which of them hold its runs back. Counting is the store's, with the job's row in hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from strait_core.job import JobSpec

FIELDS: Final = ("max_concurrency", "max_concurrency_per_key", "rate_limit_max", "rate_limit_window_secs")


def limits_of(spec: JobSpec) -> dict[str, Any]:
    """The limits that a definition sets, by the names of their fields."""
    return {name: value for name in FIELDS if (value := getattr(spec, name))}


def is_limited(spec: JobSpec) -> bool:
    """Whether a claim has to count before it takes runs of the job; such a job has a lane of its own."""
    return bool(limits_of(spec))


def fitting(entries: Iterable[tuple[str | None, int | None]]) -> list[bool]:
    """Which of these entries fit, each after those before it: (its key, how many more attempts the key may have).

    What has no key always fits.
    """
    taken: dict[str, int] = {}
    fits = []
    for key, room in entries:
        has_room = key is None or room is None or taken.get(key, 0) < room
        if key is not None and has_room:
            taken[key] = taken.get(key, 0) + 1
        fits.append(has_room)
    return fits
