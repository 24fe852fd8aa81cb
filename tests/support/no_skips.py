"""Turns every skipped, expected-to-fail or deselected test into a failed session when CI says so.

A skip is a test that did not run: on a person's machine that may do, in CI it hides a missing program.
Loaded by `-p tests.support.no_skips` in pyproject.toml; active while the variable CI is set.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

_KEY: Final = pytest.StashKey[list[str]]()


def _strict() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def pytest_configure(config: pytest.Config) -> None:
    """Start the session's list of tests that did not really run."""
    config.stash[_KEY] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Note every report whose outcome is neither passed nor failed by a real run."""
    report: pytest.TestReport = yield
    if report.skipped or hasattr(report, "wasxfail"):
        item.config.stash[_KEY].append(f"{report.nodeid} ({'xfail' if hasattr(report, 'wasxfail') else 'skip'})")
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note modules that skip themselves while being collected."""
    if report.skipped:
        _collected_skips.append(report.nodeid)


_collected_skips: Final[list[str]] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the culprits where the eye falls: at the end."""
    missed = [*config.stash[_KEY], *_collected_skips]
    if missed and _strict():
        terminalreporter.section("not run, so failed in CI", sep="=", red=True)
        for line in missed:
            terminalreporter.line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session when anything was missed."""
    if _strict() and (session.config.stash[_KEY] or _collected_skips) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
