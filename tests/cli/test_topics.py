"""Help that is not of one command, and the whole tree on one page."""

from __future__ import annotations

import ast
import inspect

import pytest

from strait_cli import main, topics, tree
from strait_cli.context import FIELDS
from tests.cli.runner import Shell


@pytest.mark.parametrize("topic", tree.TOPICS)
def test_every_topic_has_a_page(alone: Shell, topic: str):
    """It fits 120 columns and needs neither server nor configuration."""
    page = alone.ok("help", topic).out
    assert len(page.splitlines()) > 5
    assert max(map(len, page.splitlines())) <= 120


def test_the_exit_codes_are_those_in_use():
    """The table names every code that an error can end with, and no other."""
    table = ast.parse(inspect.getsource(main.exit_code))
    used = {node.value for node in ast.walk(table) if isinstance(node, ast.Constant) and isinstance(node.value, int)}
    assert {code for code, _ in topics.EXIT_CODES} == used | {0, main.INTERRUPTED, main.BROKEN_PIPE}


def test_every_variable_of_a_setting_is_named():
    """A setting that can come from the environment is in the page on it."""
    page = topics.text_of("environment")
    assert [name for one in FIELDS.values() for name in one.variables if name not in page] == []


def test_help_of_a_command(alone: Shell):
    """`help jobs create` is `jobs create --help`."""
    assert alone.ok("help", "jobs", "create").out == alone.ok("jobs", "create", "--help").out


def test_the_whole_tree_names_every_command(alone: Shell):
    """Each by its full words, with its examples, and the same whatever the terminal's width."""
    page = alone.ok("--llms").out
    for words in ("strait jobs create", "strait runs watch", "strait alias set", "strait context use"):
        assert f" {words}\n" in page
    assert page == alone.ok("--llms", env={"COLUMNS": "60"}).out
    assert "\x1b" not in page
