"""The order of the tests: who takes long begins, so that no process is still at it when the others have nothing left."""

from __future__ import annotations

from typing import Final

import pytest

# Folders of tests whose modules wait for processes to start, die and come back; the longest first.
LONG: Final = ("faults", "model", "embedded", "e2e", "services")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long folders before the others; within each the order of the files stays."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return LONG.index(folder) if folder in LONG else len(LONG)
