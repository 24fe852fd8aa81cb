"""One run's time as bars: where each attempt's went, and what happened between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from strait_cli import times
from strait_cli.table import Column, safe

# The phases of an attempt in order, by their name among the timings, with the letter of their bar.
PHASES: Final = (
    ("queue_wait", "queue", "."),
    ("connect", "connect", "-"),
    ("ttfb", "first byte", "="),
    ("transfer", "transfer", "#"),
)
SPAN: Final = (
    Column("at", "at", "time"),
    Column("what"),
    Column("attempt", "try", "number"),
    Column("outcome"),
    Column("queue_ms", "queue ms", "number"),
    Column("connect_ms", "connect ms", "number"),
    Column("ttfb_ms", "first byte ms", "number"),
    Column("transfer_ms", "transfer ms", "number"),
    Column("total_ms", "total ms", "number"),
    Column("detail", shrinks=True),
)
_BAR: Final = 24
# Moves that an attempt's own line tells.
_TOLD: Final = frozenset({"claim", "start", "complete", "fail", "retry", "dead_letter", "time_out"})


def rows(attempts: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Attempts and what else happened, by time."""
    found = [_attempt(one) for one in attempts]
    found += [_event(one) for one in events if one["event"] not in _TOLD]
    return sorted(found, key=lambda row: (row["at"] or "", row["what"] != "event"))


def _attempt(one: Mapping[str, Any]) -> dict[str, Any]:
    timings = one["timings_ms"]
    return {
        "at": one["started_at"] or one["claimed_at"],
        "what": "attempt",
        "attempt": one["attempt"],
        "outcome": one["outcome"],
        "queue_ms": timings["queue_wait"],
        "connect_ms": timings["connect"],
        "ttfb_ms": timings["ttfb"],
        "transfer_ms": timings["transfer"],
        "total_ms": timings["total"],
        "detail": one["error"] or (f"HTTP {one['http_status']}" if one["http_status"] else None),
    }


def _event(one: Mapping[str, Any]) -> dict[str, Any]:
    empty = dict.fromkeys(("outcome", "queue_ms", "connect_ms", "ttfb_ms", "transfer_ms", "total_ms"))
    detail = " ".join(part for part in (one["status"], one.get("reason")) if part)
    return {"at": one["at"], "what": one["event"], "attempt": one["attempt"] or None, **empty, "detail": detail}


def lines(run: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The same for a person: since the run was made, with a bar for each attempt, all bars on one scale."""
    began = times.parse(run["created_at"])
    longest = max((_whole(row) for row in found if row["what"] == "attempt"), default=0.0)
    for row in found:
        since = f"+{_since(began, row['at']):<9}"
        if row["what"] == "attempt":
            yield f"{since} try {row['attempt']:<3} {_bar(row, longest)}  {_outcome(row)}".rstrip()
        else:
            yield f"{since} {safe(row['what']):<8} {safe(row['detail'])}".rstrip()


def _since(began: datetime | None, at: str | None) -> str:
    when = times.parse(at or "")
    return "?" if began is None or when is None else times.length(max(0.0, (when - began).total_seconds()))


def _whole(row: Mapping[str, Any]) -> float:
    return float(row["queue_ms"] or 0) + float(row["total_ms"] or 0)


def _bar(row: Mapping[str, Any], longest: float) -> str:
    """The attempt's phases, each as long as its share; one that took any time is seen."""
    keys = ("queue_ms", "connect_ms", "ttfb_ms", "transfer_ms")
    text = ""
    for key, (_, _, letter) in zip(keys, PHASES, strict=True):
        took = float(row[key] or 0)
        if took > 0 and longest > 0:
            text += letter * max(1, round(_BAR * took / longest))
    return f"[{text[:_BAR]:<{_BAR}}]"


def _outcome(row: Mapping[str, Any]) -> str:
    total = "" if row["total_ms"] is None else f" in {times.length(float(row['total_ms']) / 1000)}"
    said = row["outcome"] or "live"
    detail = f": {safe(str(row['detail']))}" if row["detail"] else ""
    return f"{safe(said)}{total}{detail}"


LEGEND: Final = "bars: " + ", ".join(f"{letter} {name}" for _, name, letter in PHASES)
