"""Questions, asked only where somebody can answer."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from strait_cli.table import safe
from strait_core.errors import ConfigError, StraitError, UsageError


def confirm(deed: str, *, yes: bool) -> None:
    """Ask before a deed that cannot be undone; `deed` names what it hits. A no ends the command with exit 1."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"would {deed}; nobody to ask here", hint="add --yes to do it without asking")
    sys.stderr.write(f"{safe(deed[:1].upper() + deed[1:])}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise StraitError("not done")


def edited(text: str, *, suffix: str) -> str:
    """What the user makes of a text in $VISUAL or $EDITOR."""
    handle, name = tempfile.mkstemp(prefix="strait-", suffix=suffix)
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        open_editor(path)
        return path.read_text(encoding="utf-8")
    finally:
        path.unlink(missing_ok=True)


def open_editor(path: Path) -> None:
    """Let the user edit a file, and wait."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(command), str(path)], check=False).returncode  # noqa: S603 - their editor
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot start the editor `{command}`: {error}", hint="set EDITOR") from error
    if code:
        raise StraitError(f"the editor `{command}` ended with {code}; nothing was changed")
