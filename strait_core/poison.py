"""Poison pills: the same error again and again, told by its fingerprint.

A fingerprint is what stays of an error once everything that differs from one attempt to the next is taken out: ids,
counters, times, addresses in memory.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

# So much of the message counts: what comes later is traces and bodies.
MAX_COMPARED: Final = 300
# Runs of hexadecimal digits that hold a decimal one (ids, hashes, addresses, UUIDs piece by piece), and all numbers.
_VARYING: Final = re.compile(r"0x[0-9a-f]+|\b(?=[0-9a-f-]*\d)[0-9a-f]+(?:-[0-9a-f]+)*\b|\d+", re.IGNORECASE)
_BLANKS: Final = re.compile(r"\s+")


def fingerprint(error_class: str | None, http_status: int | None, message: str | None) -> int:
    """The error's fingerprint, of 63 bits: class, status, and the message without what varies."""
    plain = _BLANKS.sub(" ", _VARYING.sub("#", message or "")).strip().lower()[:MAX_COMPARED]
    digest = sha256(f"{error_class}\n{http_status}\n{plain}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def streak(before: tuple[int | None, int | None], now: int) -> int:
    """How often in a row an error has come, this time included; `before` is (fingerprint, streak) of the last one."""
    known, count = before
    return (count or 0) + 1 if known == now else 1
