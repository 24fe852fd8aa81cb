"""What a look at everything that Strait stands on has found."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """How a thing is: well, working with something to see to, or broken."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, kw_only=True):
    """One thing that was looked at: what is there, and what to do about it (null: nothing)."""

    check: str
    status: Verdict
    detail: str
    fix: str | None = None


class Checkup(Struct, kw_only=True):
    """Everything the daemon can see of itself, its database, its queue and its endpoints; `now` is by its clock."""

    now: datetime
    version: str
    findings: list[Finding]
