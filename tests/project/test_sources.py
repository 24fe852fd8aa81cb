"""Size, names and words of the program's own modules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project.tree import PACKAGES, ROOT, files, functions, parsed, sources, text

MODULE_LINES = 400
FUNCTION_LINES = 40
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "base", "misc"}
# Spelled in pieces, so that this file keeps its own rule.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the last statement, without the docstring."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_grows_past_its_limit(package: str):
    """A noun that outgrows its file becomes a folder inside its layer."""
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in sources(package)}
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_grows_past_its_limit(package: str):
    """A function is read in one look: forty lines, its docstring not counted."""
    long = {
        f"{path}:{node.lineno} {node.name}": body_lines(node)
        for path in sources(package)
        for node in functions(path)
        if body_lines(node) > FUNCTION_LINES
    }
    assert long == {}


def test_the_limits_would_notice():
    """The line counter counts what a reader sees, and leaves out the docstring only."""
    module = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    a = 1\n    return a\n')
    node = module.body[0]
    assert isinstance(node, ast.FunctionDef)
    assert body_lines(node) == 3


def private_names(module: ast.Module) -> set[str]:
    """What a module makes for itself alone: its top-level functions, classes and constants that begin with one `_`."""
    names: set[str] = set()
    for node in module.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def read_names(module: ast.Module) -> set[str]:
    """Every name that the module reads."""
    return {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def unread(module: ast.Module) -> set[str]:
    """What only the module could use, and does not."""
    return private_names(module) - read_names(module)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_private_is_left_behind(package: str):
    """What only its own module could use is used there."""
    dead = {str(path): names for path in sources(package) if (names := unread(parsed(path)))}
    assert dead == {}
    left = ast.parse("_A = 1\n_B: int = 2\ndef _c(): return _A\nclass D: ...\n")
    assert unread(left) == {"_B", "_c"}


def test_every_module_says_why_it_exists():
    """A module docstring is the first thing a newcomer reads."""
    silent = [
        str(path) for path in sources(*PACKAGES, "tests", "benchmarks", "tools") if not ast.get_docstring(parsed(path))
    ]
    assert silent == []


def test_every_public_thing_states_its_contract():
    """Public classes and functions at module level carry a docstring."""
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path in sources(*PACKAGES)
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not is_overload(node)
    ]
    assert silent == []


def is_overload(node: ast.stmt) -> bool:
    """Whether the function is one signature of several; the implementation carries the docstring."""
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(decorator).endswith("overload") for decorator in decorators)


def test_no_module_is_named_for_nothing():
    """Names say what is inside: domain nouns, not drawers."""
    parts = {path: {*path.with_suffix("").parts} & BANNED_NAMES for path in sources(*PACKAGES, "tests")}
    assert {str(path): names for path, names in parts.items() if names} == {}


def test_nothing_is_left_for_later():
    """What is not done is an issue, not a comment."""
    left: list[str] = []
    for path in files():
        if "assets" in path.parts or (content := text(path)) is None:
            continue
        left += [f"{path}:{number}" for number, line in enumerate(content.splitlines(), 1) if UNFINISHED.search(line)]
    assert left == []


def test_every_package_ships_its_types():
    """`py.typed` stands in each top-level package."""
    assert [name for name in PACKAGES if Path(name, "py.typed") not in files()] == []


def test_every_statement_has_a_caller():
    """Each named block of store/sql is named by a module of the store, unless that module runs the whole file."""
    modules = {path: text(path) or "" for path in sources("strait_core") if path.parts[1] == "store"}
    uncalled = [
        f"{path.stem}.{name}"
        for path in files()
        if path.match("strait_core/store/sql/*.sql")
        if not re.search(r"\bin _SQL\b", modules.get(Path("strait_core/store", f"{path.stem}.py"), ""))
        for name in re.findall(r"^-- name: *(\w+)", text(path) or "", re.MULTILINE)
        if not any(re.search(rf"\b{name}\b", module) for module in modules.values())
    ]
    assert uncalled == []
