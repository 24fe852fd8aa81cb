"""Hard limits of a job: which of them hold its runs back. Counting is the store's, with the job's row in hand."""

from __future__ import annotations

from typing import Any, Final

from strait_core.job import JobSpec

FIELDS: Final = ("max_concurrency",)


def limits_of(spec: JobSpec) -> dict[str, Any]:
    """The limits that a definition sets, by the names of their fields."""
    return {name: value for name in FIELDS if (value := getattr(spec, name))}


def is_limited(spec: JobSpec) -> bool:
    """Whether a claim has to count before it takes runs of the job; such a job has a lane of its own."""
    return bool(limits_of(spec))
