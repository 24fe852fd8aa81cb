"""Hard limits of a job: which of them hold its runs back. Counting is the store's, with the job's row in hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from strait_core.job import JobSpec
from strait_core.ratekeys import Bucket

# Those that are columns of the job as they are.
FIELDS: Final = ("max_concurrency", "max_concurrency_per_key", "rate_limit_max", "rate_limit_window_secs")


def limits_of(spec: JobSpec) -> dict[str, Any]:
    """The limits that a definition sets, by the names of their fields."""
    return {name: value for name in (*FIELDS, "rate_limit_keys") if (value := getattr(spec, name))}


def is_limited(spec: JobSpec) -> bool:
    """Whether a claim has to count before it takes runs of the job; such a job has a lane of its own."""
    return bool(limits_of(spec))


def held_back(entries: Iterable[Sequence[tuple[Bucket, int]]]) -> list[list[Bucket]]:
    """Which keys hold each of these entries back, each after those before it; an empty list = it may start.

    An entry is what its run takes of: keys, and how many more each of them may have. One that is held back takes
    nothing.
    """
    taken: Counter[Bucket] = Counter()
    held = []
    for wants in entries:
        without = [bucket for bucket, room in wants if taken[bucket] >= room]
        if not without:
            taken.update(bucket for bucket, _ in wants)
        held.append(without)
    return held
