"""What endpoints noted on their runs, from the store's form to the wire's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import UNSET, Raw

from strait_core.wire.notes import LogLevel, LogLine, Progress, Usage


def of_run(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a run that tell what was noted on it; outputs and usage are there when the row has them."""
    return {
        "progress": progress(row.get("progress")),
        "cost_microusd": row.get("cost_microusd") or 0,
        "outputs": values(row["outputs"]) if "outputs" in row else UNSET,
        "usage": usage(row["usage"]) if "usage" in row else UNSET,
    }


def progress(stored: Mapping[str, Any] | None) -> Progress | None:
    """The last report of progress."""
    if stored is None:
        return None
    at = datetime.fromisoformat(stored["at"])
    return Progress(percent=stored["percent"], message=stored["message"], at=at)


def values(stored: Mapping[str, str] | None) -> dict[str, Raw]:
    """Outputs or state: each value is kept as its JSON text, and is JSON again here."""
    return {name: Raw(text.encode()) for name, text in (stored or {}).items()}


def usage(stored: Mapping[str, Mapping[str, Any]] | None) -> list[Usage]:
    """What was used, the dearest first."""
    used = [Usage(**facts) for facts in (stored or {}).values()]
    return sorted(used, key=lambda one: (-one.cost_microusd, one.provider, one.model))


def line(row: Mapping[str, Any]) -> LogLine:
    """One log line."""
    data: str | None = row["data"]
    return LogLine(
        seq=row["seq"],
        at=row["at"],
        attempt=row["attempt"],
        level=LogLevel(row["level"]),
        message=row["message"],
        data=None if data is None else Raw(data.encode()),
    )
