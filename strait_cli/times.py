"""Times and durations as people read them. The API's own text (ISO 8601, UTC) is the input, and `now` an argument."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_STEPS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def parse(text: str) -> datetime | None:
    """An ISO time with an offset, None when it is something else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None


def shown(text: str, style: str, now: datetime) -> str:
    """A time in one of the styles relative, iso, local, utc; text that is no time stays as it is."""
    at = parse(text)
    if at is None or style == "iso":
        return text
    match style:
        case "local":
            return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case "utc":
            return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case _:
            return relative(at, now)


def relative(at: datetime, now: datetime) -> str:
    """`12s ago`, `in 3m`, `now`; the largest unit that fits, rounded down."""
    seconds = int((now - at).total_seconds())
    if seconds == 0:
        return "now"
    for length, unit in _STEPS:
        if abs(seconds) >= length:
            count = abs(seconds) // length
            return f"{count}{unit} ago" if seconds > 0 else f"in {count}{unit}"
    raise AssertionError(seconds)


def length(seconds: float) -> str:
    """A duration in the two units that matter: `340 ms`, `2.4 s`, `3m 12s`, `2h 5m`, `4d 3h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 86_400:
        return f"{whole // 3_600}h {whole % 3_600 // 60}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3_600}h"
