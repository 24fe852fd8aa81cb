"""Reads the named blocks of `sql/<noun>.sql` once per process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(noun: str) -> Mapping[str, bytes]:
    """The statements of `sql/<noun>.sql` by name; text before the first name is the file's own comment."""
    text = files("strait_core.store").joinpath("sql", f"{noun}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)}
