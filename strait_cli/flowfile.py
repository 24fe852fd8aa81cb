"""Definitions of workflows in files: YAML or JSON, read without losing what a number says."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import yaml

from strait_cli import exact
from strait_cli.body import read_text
from strait_core.errors import Fault, UsageError, ValidationError
from strait_core.wire.workflows import WorkflowCreate
from strait_core.workflow.definition import WorkflowSpec
from strait_core.workflow.request import given_of, spec_of

# What only the server says: left out, so that what `get` printed can be sent back.
_TOLD: Final = frozenset(
    {
        "id",
        "paused",
        "paused_at",
        "pause_reason",
        "version",
        "version_id",
        "step_count",
        "created_at",
        "updated_at",
    }
)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")


class Loader(yaml.SafeLoader):
    """YAML whose numbers stay as they are written, and whose times are text."""


def _number(loader: yaml.SafeLoader, node: Any) -> Any:
    if _NUMBER.match(node.value):
        return exact.loads(node.value)
    is_whole = node.tag.endswith(":int")
    return loader.construct_yaml_int(node) if is_whole else loader.construct_yaml_float(node)


def _text(loader: yaml.SafeLoader, node: Any) -> Any:
    return loader.construct_scalar(node)


Loader.add_constructor("tag:yaml.org,2002:int", _number)
Loader.add_constructor("tag:yaml.org,2002:float", _number)
Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def read_file(name: str) -> dict[str, Any]:
    """The definition in a file, `-` for standard input: an object of a request's fields."""
    text = read_text(name if name == "-" else f"@{name}", "--file")
    try:
        said = exact.loads(text) if text.lstrip()[:1] == "{" else yaml.load(text, Loader=Loader)  # noqa: S506 - a safe one
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"--file: {name} is neither YAML nor JSON: {error}") from error
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise UsageError(
            f"--file: {name} does not hold a workflow", hint="it begins like: name: …, slug: …, steps: […]"
        )
    return {key: value for key, value in said.items() if key not in _TOLD}


def judged(said: dict[str, Any], project: str) -> WorkflowSpec:
    """The definition that a request would make, as far as it can be judged without a server; raises ValidationError."""
    try:
        body = msgspec.json.decode(exact.dumps(said), type=WorkflowCreate)
    except msgspec.DecodeError as error:
        said_of, _, where = str(error).partition(" - at `$")
        pointer = re.sub(r"[.\[]", "/", where.rstrip("`").replace("]", ""))
        raise ValidationError([Fault(pointer, said_of)]) from None
    return spec_of({"project_id": project} | given_of(body), None)
