"""The files of the checkout, as the rules see them: what git tracks or would track."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("strait_core", "strait_daemon", "strait_cli")


@cache
def files() -> tuple[Path, ...]:
    """Every tracked file, and every new one that is not ignored, relative to ROOT and sorted."""
    # The checkout may belong to somebody else than the one who tests it; that is no reason for git to refuse.
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run([*command, "--exclude-standard"], check=True, capture_output=True, text=True).stdout
    return tuple(sorted(path for name in listed.split("\0") if name and (ROOT / (path := Path(name))).is_file()))


def sources(*packages: str) -> list[Path]:
    """The Python files below the named top-level folders."""
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in packages]


def text(path: Path) -> str | None:
    """The file's text, or None when it is no text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@cache
def parsed(path: Path) -> ast.Module:
    """The file as a syntax tree."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of the file, nested ones too."""
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
