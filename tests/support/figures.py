"""What tests have measured, for people: printed at the end of the session, and once more at the end of a soak."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

_LINES: Final = pytest.StashKey[list[str]]()


class Figures:
    """Where a test leaves what it has measured."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def note(self, what: str, *values: object) -> None:
        """Remember one line."""
        line = " ".join([f"{what}:", *map(str, values)])
        self._lines.append(line)
        if kept := os.environ.get("STRAIT_TEST_LINES"):
            with Path(kept).open("a", encoding="utf-8") as sink:
                sink.write(line + "\n")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """The figures of this session."""
    return Figures(request.config.stash.setdefault(_LINES, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures after everything else."""
    lines = config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("figures", sep="-")
        for line in lines:
            terminalreporter.line(line)
