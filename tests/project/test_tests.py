"""The tests' own habits."""

from __future__ import annotations

import ast

from tests.project.tree import functions, parsed, sources

SKIPPING = {"skip", "skipif", "xfail", "importorskip"}


def test_every_test_says_what_it_shows():
    """A failing test explains itself by its docstring, in one line."""
    silent = []
    for path in sources("tests"):
        if not path.name.startswith("test_"):
            continue
        for node in functions(path):
            doc = ast.get_docstring(node) if node.name.startswith("test_") else "a helper"
            if not doc or "\n" in doc.strip():
                silent.append(f"{path}:{node.lineno} {node.name}")
    assert silent == []


def test_no_test_is_skipped():
    """A test that may not run is a test that does not; what needs a program lives in tests/system."""
    found = [
        f"{path}:{node.lineno}"
        for path in sources("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr in SKIPPING and ast.unparse(node.value).startswith("pytest")
    ]
    assert found == []


def test_no_part_of_ours_is_mocked():
    """Tests use the real parts: no mock library, no patching of our modules."""
    found = [
        f"{path}:{node.lineno}"
        for path in sources("tests")
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unittest.mock"))
        or (
            isinstance(node, ast.ImportFrom) and node.module == "unittest" and any(a.name == "mock" for a in node.names)
        )
        or (isinstance(node, ast.Import) and any(alias.name.startswith("unittest.mock") for alias in node.names))
    ]
    assert found == []


def test_every_test_can_fail():
    """A test asserts, expects an exception, or calls a checker or a wait with a deadline whose name says so."""
    toothless = []
    for path in sources("tests"):
        if not path.name.startswith("test_"):
            continue
        for node in functions(path):
            if not node.name.startswith("test_"):
                continue
            words = {ast.unparse(call.func).rpartition(".")[2] for call in ast.walk(node) if isinstance(call, ast.Call)}
            checks = any(
                word.startswith(
                    ("assert_", "check", "expect", "raises", "verify", "warns", "fail", "eventually", "until", "wait_")
                )
                for word in words
            )
            if not checks and not any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
                toothless.append(f"{path}:{node.lineno} {node.name}")
    assert toothless == []


def test_what_has_two_sizes_is_marked():
    """A soak chooses by the mark: a module that knows of sizes or seeds marks whatever they change."""
    unmarked = []
    for path in sources("tests"):
        names = {
            name.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom) for name in node.names
        }
        if path.name.startswith("test_") and names & {"size", "SEED", "SOAK"}:
            marks = [ast.unparse(mark) for node in functions(path) for mark in node.decorator_list]
            if not any("soak" in mark or mark.startswith("given") for mark in marks):
                unmarked.append(str(path))
    assert unmarked == []
