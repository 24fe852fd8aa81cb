"""`strait init`: files that work as they are, and never in the place of others."""

from __future__ import annotations

import ast
from base64 import b64encode
from pathlib import Path
from time import time
from typing import Any

import pytest

from strait_core.signing import key_of, signed_headers
from tests.cli.runner import Shell


@pytest.mark.parametrize(
    ("template", "endpoint"), [("fastapi", "fastapi_endpoint.py"), ("flask", "flask_endpoint.py"), ("none", None)]
)
def test_what_is_written_is_right(alone: Shell, template: str, endpoint: str | None):
    """The manifest is valid, the endpoint is Python that takes our signatures and no others."""
    made = alone.ok("init", "shop", "--framework", template, "-o", "name").out.split()
    assert sorted(Path(name).name for name in made) == sorted(
        ["strait.yaml", ".env.example", "strait.schema.json", *([endpoint] if endpoint else [])]
    )
    assert alone.ok("validate", "-f", "shop/strait.yaml", "-o", "json").json["jobs"] == 1
    if endpoint is None:
        return
    text = (alone.folder / "shop" / endpoint).read_text()
    module = ast.parse(text)
    wanted: list[ast.stmt] = [
        node for node in module.body if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
    ]
    known = [node for node in wanted if not (isinstance(node, ast.ImportFrom) and node.module in {"fastapi", "flask"})]
    known = [node for node in known if not isinstance(node, ast.FunctionDef) or node.name == "is_signed"]
    space: dict[str, Any] = {}
    exec(compile(ast.Module(known, []), endpoint, "exec"), space)
    for secret in ("s" * 32, "whsec_" + b64encode(b"k" * 32).decode()):
        headers = signed_headers(key_of(secret), "run_1", int(time()), b"{}")
        assert space["is_signed"](secret, headers, b"{}")
        assert not space["is_signed"](secret, headers, b"{ }")
        assert not space["is_signed"]("other" + secret[5:], headers, b"{}")
        assert not space["is_signed"](secret, {}, b"{}")
        old = signed_headers(key_of(secret), "run_1", int(time()) - 600, b"{}")
        assert not space["is_signed"](secret, old, b"{}")


def test_what_is_there_stays(alone: Shell):
    """Exit 6, and not even the files that are missing are written."""
    (alone.folder / ".env.example").write_text("mine")
    answer = alone.run("init", code=6)
    assert ".env.example is there already" in answer.err
    assert [path.name for path in alone.folder.iterdir()] == [".env.example"]
    assert (alone.folder / ".env.example").read_text() == "mine"


def test_a_manifest_that_was_begun_can_be_applied(shell: Shell, tmp_path: Path):
    """From nothing to a job and a workflow in two commands."""
    shell.ok("init", "--framework", "none", "-q")
    shell.ok("apply", "--yes", "-q")
    assert shell.ok("diff").out == ""
    assert shell.ok("workflows", "list", "-o", "name").out.strip().startswith("wf_")


def test_an_unknown_framework(alone: Shell):
    """Exit 2, with those there are."""
    assert "fastapi, flask" in alone.run("init", "--framework", "rails", code=2).err
