"""Faults strike daemons that run already, so their databases need not be migrated each time anew."""

from __future__ import annotations

import pytest


@pytest.fixture
def database(migrated: str) -> str:
    """The URL of a migrated database that is the test's own."""
    return migrated
