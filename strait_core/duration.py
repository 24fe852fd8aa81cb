"""Lengths of time as people write them: `90s`, `1h30m`, `250ms`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_WHOLE: Final = re.compile(
    r"(?:(?P<d>[0-9]{1,7})d)?(?:(?P<h>[0-9]{1,7})h)?(?:(?P<m>[0-9]{1,7})m)?(?:(?P<s>[0-9]{1,7})s)?"
    r"(?:(?P<ms>[0-9]{1,7})ms)?\Z"
)


def parse_duration(text: str) -> timedelta | None:
    """The length that a text names, whole numbers with d, h, m, s and ms in that order; None when it is none."""
    found = _WHOLE.match(text)
    if not text or found is None:
        return None
    return timedelta(milliseconds=sum(int(number) * _UNITS[unit] for unit, number in found.groupdict("0").items()))
