"""`strait doctor`: looks at what a Strait stands on, without starting anything.

Either whether the stored runs are as they must always be (`--invariants`), or, where no daemon answers that could be
asked, at the settings and the database that the environment names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from strait_core.errors import ConfigError, UnavailableError
from strait_core.store.faults import Broken, Missing
from strait_core.store.invariants import check_all
from strait_core.store.pool import connect, endpoint_of
from strait_core.wire.doctor import Finding, Verdict
from strait_daemon import checkup
from strait_daemon import settings as configuration
from strait_daemon.clock import database_time

_BROKEN: Final = 1


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, whether it is as it should be, how much is not, and at most ten examples of that."""

    check: str
    passed: bool
    count: int
    examples: tuple[str, ...]


async def doctor(output: str) -> int:
    """Print a line for each invariant, with examples of what breaks it; exit code 1 when anything does.

    Raises UnavailableError when the database cannot be reached, ConfigError when it holds no tables of Strait's.
    """
    checks = await invariants()
    print(_render(checks, output))  # noqa: T201 - the data this command is for
    passed = sum(check.passed for check in checks)
    print(f"{passed} of {len(checks)} checks passed", file=sys.stderr)  # noqa: T201
    return 0 if passed == len(checks) else _BROKEN


async def look() -> int:
    """Print what there is to be said of settings and database, as a JSON list; exit code 0 whatever it is."""
    print(msgspec.json.encode(await seen()).decode())  # noqa: T201 - the data this command is for
    return 0


async def seen() -> list[Finding]:
    """What can be said of the settings and the database without a daemon."""
    found: list[Finding] = []
    sinks: tuple[str, ...] = ()
    try:
        settings, _ = configuration.load()
        sinks = settings.sinks
        found += await checkup.process_findings(settings)
    except ConfigError as error:
        faults = error.message.split("\n  - ")[1:]
        found += [checkup.finding("settings", Verdict.FAIL, fault, "see docs/settings.md") for fault in faults]
    try:
        conn = await connect(configuration.database_url())
    except (ConfigError, UnavailableError) as error:
        return [*found, checkup.finding("postgresql", Verdict.FAIL, error.message, error.hint)]
    try:
        now = await database_time(conn)
        found += await checkup.database_findings(conn, now)
        found += await checkup.queue_findings(conn, now, configuration.longest_silence())
        found += await checkup.breaker_findings(conn)
        found += await checkup.sink_findings(conn, now, sinks)
    except Missing:
        found.append(checkup.finding("tables", Verdict.FAIL, "some are not there", "strait migrate up"))
    finally:
        await conn.close()
    return found


async def invariants() -> list[Check]:
    """Whether the stored runs are as they must always be: the program that the fault tests ask too."""
    stale = configuration.longest_silence()
    url = configuration.database_url()
    conn = await connect(url)
    try:
        now = await database_time(conn)
        found = await check_all(conn, now, dead_before=now - stale)
    except Missing as error:
        raise ConfigError(
            f"the database at {endpoint_of(url)} lacks a table of this version: {str(error).splitlines()[0]}",
            hint="apply the migrations: strait migrate up",
        ) from error
    except Broken as error:
        raise UnavailableError(f"the connection to PostgreSQL at {endpoint_of(url)} was lost") from error
    finally:
        await conn.close()
    return [
        Check(name, passed=True, count=0, examples=())
        if violation is None
        else Check(name, passed=False, count=violation.count, examples=violation.examples)
        for name, violation in found.items()
    ]


def _render(checks: Sequence[Check], output: str) -> str:
    """JSON for programs, a line each for people."""
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(checks), indent=2).decode()
    if output == "jsonl":
        return "\n".join(msgspec.json.encode(check).decode() for check in checks)
    width = max(len(check.check) for check in checks)
    return "\n".join(_line(check, width) for check in checks)


def _line(check: Check, width: int) -> str:
    if check.passed:
        return f"pass  {check.check}"
    more = check.count - len(check.examples)
    examples = "; ".join(check.examples) + (f"; and {more} more" if more else "")
    return f"FAIL  {check.check:<{width}}  {check.count}: {examples}"
