"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.stage import Stage, staged


@pytest.fixture
def stage() -> Iterator[Stage]:
    """An empty home; the test fails when something is left running in it."""
    with staged() as empty:
        yield empty
