"""Which local files may set server and key: those whose path and content the user has approved.

The approval is for the content: a file that changes (a pulled branch, an editor) is a stranger again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from strait_cli import files


def _ledger(environ: Mapping[str, str]) -> Path:
    return files.data_folder(environ) / "trusted.json"


def _entries(environ: Mapping[str, str]) -> dict[str, str]:
    text = files.read_text(_ledger(environ))
    try:
        entries = json.loads(text) if text else {}
    except ValueError:
        # A damaged ledger trusts nothing.
        return {}
    return entries if isinstance(entries, dict) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def is_trusted(path: Path, text: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether exactly this content was approved at this path."""
    return _entries(environ).get(str(path.resolve())) == _digest(text)


def approve(path: Path, text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Remember that this content at this path may set server and key."""
    entries = {**_entries(environ), str(path.resolve()): _digest(text)}
    files.write_private(_ledger(environ), json.dumps(entries, indent=2) + "\n")
