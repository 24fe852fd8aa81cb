"""The tabs of the dashboard that list things: what each asks for, shows, and can have done to its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from strait_cli.columns import JOB, RUN, SCHEDULE, SENT_EVENT, WORKFLOW
from strait_cli.paths import path_of
from strait_cli.table import Column

Row = dict[str, Any]
# The body that a bulk deed sends, and the deed's path.
Request = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done to the chosen rows: its key, its name, one request for all of them or one for each.

    `fits` says whether a row takes it; `asks` is false where nothing is lost by doing it.
    """

    key: str
    name: str
    requests: Callable[[Sequence[Row]], list[Request]]
    fits: Callable[[Row], bool] = lambda _row: True
    asks: bool = True


@dataclass(frozen=True, slots=True)
class Noun:
    """A tab: its title, the list behind it, its columns, and what can be done."""

    name: str
    title: str
    path: str
    columns: tuple[Column, ...]
    deeds: tuple[Deed, ...] = ()
    # How a row is named in a question.
    label: str = "id"
    # New rows come at the top, and rows that end stay.
    grows: bool = False


def _narrow(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(column for column in columns if not column.wide)


# What happened stands before what it happened to is called.
_FIRST: Final = ("job_slug", "status", "attempt", "created_at", "took", "error", "id")
_RUN: Final = tuple(
    replace(column, shrinks=column.shrinks or name == "id") for name in _FIRST for column in RUN if column.field == name
)
_UNSUCCESSFUL: Final = frozenset({"failed", "timed_out", "crashed", "system_failed", "dead_letter"})
_OVER: Final = _UNSUCCESSFUL | {"completed", "canceled", "expired"}


def _bulk(verb: str) -> Callable[[Sequence[Row]], list[Request]]:
    """One request for up to a thousand runs."""

    def requests(rows: Sequence[Row]) -> list[Request]:
        ids = [str(row["id"]) for row in rows]
        return [(path_of("runs", verb), {"ids": ids[at : at + 1_000]}) for at in range(0, len(ids), 1_000)]

    return requests


def _each(noun: str, verb: str) -> Callable[[Sequence[Row]], list[Request]]:
    return lambda rows: [(path_of(noun, str(row["id"]), verb), {}) for row in rows]


_REPLAY: Final = Deed("r", "Replay", _bulk("bulk-replay"), fits=lambda row: row["status"] in _UNSUCCESSFUL)
_CANCEL: Final = Deed("c", "Cancel", _bulk("bulk-cancel"), fits=lambda row: row["status"] not in _OVER)


def _pausing(noun: str) -> tuple[Deed, ...]:
    return (
        Deed("p", "Pause", _each(noun, "pause"), fits=lambda row: not _is_paused(row)),
        Deed("u", "Resume", _each(noun, "resume"), fits=_is_paused),
    )


def _is_paused(row: Row) -> bool:
    return bool(row.get("paused")) or row.get("state") == "paused"


NOUNS: Final = (
    Noun("runs", "Runs", path_of("runs"), _RUN, (_CANCEL, _REPLAY), grows=True),
    Noun(
        "jobs",
        "Jobs",
        path_of("jobs"),
        _narrow(JOB),
        (Deed("t", "Trigger", _each("jobs", "trigger"), fits=lambda row: not _is_paused(row)), *_pausing("jobs")),
        label="slug",
    ),
    Noun(
        "workflows",
        "Workflows",
        path_of("workflows"),
        _narrow(WORKFLOW),
        (
            Deed("t", "Trigger", _each("workflows", "trigger"), fits=lambda row: not _is_paused(row)),
            *_pausing("workflows"),
        ),
        label="slug",
    ),
    Noun("schedules", "Schedules", path_of("schedules"), _narrow(SCHEDULE), _pausing("schedules"), label="slug"),
    Noun("dlq", "Dead letter", path_of("runs", "dlq"), _RUN, (_REPLAY,)),
    Noun("events", "Events", path_of("events"), _narrow(SENT_EVENT)),
)
