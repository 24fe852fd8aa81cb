"""Where the command line keeps things, and how it writes them: private, whole or not at all.

Folders follow the XDG base directory specification; a relative XDG variable is ignored, as it demands.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from strait_core.errors import ConfigError

LOCAL_FILE: Final = ".strait.toml"
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
# What a handful of settings never needs.
_MOST_BYTES: Final = 65_536


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CONFIG_HOME/strait/config.toml`, by default below `~/.config`."""
    return _xdg("XDG_CONFIG_HOME", ".config", environ) / "config.toml"


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_DATA_HOME/strait`, by default below `~/.local/share`."""
    return _xdg("XDG_DATA_HOME", ".local/share", environ)


def here() -> Path:
    """The working folder; relative where it has been deleted, so that nothing is found in it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path()


def _xdg(variable: str, default: str, environ: Mapping[str, str]) -> Path:
    named = environ.get(variable, "")
    return (Path(named) if os.path.isabs(named) else Path.home() / default) / "strait"  # noqa: PTH117 - no Path for ""


def write_private(path: Path, text: str) -> None:
    """Replace a file by `text` in one step, readable by its owner only (0600; new folders 0700)."""
    # A link is followed, so that a configuration kept elsewhere (a repository of dot files) stays there.
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
        try:
            _create(beside, text)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="check who owns the folder") from error


def create_private(path: Path, text: str) -> str:
    """Create a 0600 file with `text` unless it exists; what it holds now, whoever wrote it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            _create(beside, text)
            # A link, unlike a rename, never replaces: of two who race, both read the winner's text, whole.
            os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink(missing_ok=True)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="check who owns the folder") from error


def _create(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def read_strange(path: Path) -> str | None:
    """The text of a file that anybody may have put there: None for what is no file (a pipe would be waited for)."""
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if size is not None and size > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than {_MOST_BYTES} bytes")
    return None if size is None else read_text(path)


def read_text(path: Path) -> str | None:
    """A file's text, None when there is no such file; any other trouble is a ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from error
