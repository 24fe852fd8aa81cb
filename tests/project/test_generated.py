"""Generated pages are what the code says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.tree import files
from tools import docs


@pytest.mark.parametrize("path", docs.pages(), ids=str)
def test_generated_page_is_current(path: str):
    """`make docs` has been run since the code that the page is made from changed."""
    assert path not in docs.stale()
    assert Path(path) in files()


def test_no_page_is_left_over():
    """What no generator writes any more is gone: a command that was renamed leaves no page behind."""
    assert docs.left_over() == []


def test_generators_are_repeatable():
    """Twice the same bytes: nothing of the clock, the machine or a set's order is in a page."""
    assert docs.pages() == docs.pages()
