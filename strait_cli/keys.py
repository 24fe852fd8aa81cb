"""Where API keys are kept, and how one is found when a request needs it.

Files hold references, never keys: `keyring` (the operating system's store), `file:PATH` (0600) or `env:NAME`.
keyring is imported only when a reference says so or a key is stored.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from strait_cli import files
from strait_cli.context import Layers, Source, Value
from strait_core.errors import ConfigError, UsageError

SERVICE: Final = "strait"
KEYRING: Final = "keyring"


def read_secret(text: str, *, flag: str, environ: Mapping[str, str] = os.environ) -> str:
    """A secret as a flag gives it: itself, or `@file`, `-` (standard input) or `env:NAME`."""
    if text == "-":
        secret = sys.stdin.read()
    elif text.startswith("@"):
        content = files.read_text(Path(text[1:]))
        if content is None:
            raise UsageError(f"{flag}: there is no file {text[1:]}")
        secret = content
    elif text.startswith("env:"):
        secret = environ.get(text[4:], "")
        if not secret:
            raise UsageError(f"{flag}: the variable {text[4:]} is not set")
    else:
        return text
    if not secret.strip():
        raise UsageError(f"{flag}: what it names is empty")
    return secret.strip()


def find_key(layers: Layers) -> str | None:
    """The key to send, None when no layer has one."""
    value = layers.value("api_key")
    match value.source:
        case Source.DEFAULT:
            return None
        case Source.FLAG:
            return read_secret(value.text or "", flag="--api-key", environ=layers.environ)
        case Source.ENV:
            return value.text
        case Source.LOCAL | Source.CONTEXT:
            return _follow(value, layers)


def _follow(value: Value, layers: Layers) -> str:
    """The key behind a reference in a file."""
    reference = value.text or ""
    kind, _, rest = reference.partition(":")
    where = f"the key of {value.origin}"
    key: str | None
    if kind == KEYRING:
        key = _from_keyring(rest or layers.active.text or "")
        fault = "is not in the keyring"
    elif kind == "file" and rest:
        key = files.read_text(Path(rest).expanduser())
        fault = f"is missing: {rest} is not there or empty"
    elif kind == "env" and rest:
        key = layers.environ.get(rest)
        fault = f"is missing: the variable {rest} is not set"
    else:
        raise ConfigError(f"{where} must be keyring, file:PATH or env:NAME", hint="strait config set api_key -")
    if not key or not key.strip():
        raise ConfigError(f"{where} {fault}", hint="store it again: strait config set api_key -")
    return key.strip()


def _from_keyring(account: str) -> str | None:
    import keyring  # noqa: PLC0415 - 80 ms that most commands need not spend
    from keyring.errors import KeyringError  # noqa: PLC0415

    try:
        return keyring.get_password(SERVICE, account)
    except KeyringError as error:
        raise ConfigError(f"the keyring does not answer: {error}", hint="unlock it, or use --api-key") from error


def store_key(account: str, key: str, environ: Mapping[str, str] = os.environ) -> str:
    """Keep a key for a context in the keyring, else in a 0600 file; the reference that finds it again."""
    if _into_keyring(account, key):
        return KEYRING
    path = key_file(account, environ)
    files.write_private(path, key + "\n")
    return f"file:{path}"


def reference_or_store(account: str, text: str, environ: Mapping[str, str] = os.environ) -> str:
    """`env:NAME` stays a reference; anything else is read and stored."""
    if text.startswith("env:"):
        return text
    return store_key(account, read_secret(text, flag="the key", environ=environ), environ)


def key_file(account: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the key of a context lies when there is no keyring."""
    return files.data_folder(environ) / "keys" / account


def _into_keyring(account: str, key: str) -> bool:
    import keyring  # noqa: PLC0415 - see above
    from keyring.errors import KeyringError  # noqa: PLC0415

    # A backend of priority 0 or less is keyring's way to say that there is none; anything that keeps keys in the
    # clear ranks below 1 as well, and our own 0600 file is no worse than that.
    if getattr(keyring.get_keyring(), "priority", 0) < 1:
        return False
    try:
        keyring.set_password(SERVICE, account, key)
    except (KeyringError, OSError):
        return False
    return True


def forget_key(account: str, reference: str, environ: Mapping[str, str] = os.environ) -> None:
    """Delete the key of a context that is going; a file or variable of the user's own is left alone."""
    if reference.partition(":")[0] == KEYRING:
        import keyring  # noqa: PLC0415 - see above
        from keyring.errors import KeyringError  # noqa: PLC0415

        try:
            keyring.delete_password(SERVICE, account)
        except KeyringError:
            return
    elif reference == f"file:{key_file(account, environ)}":
        key_file(account, environ).unlink(missing_ok=True)


def move_key(old: str, new: str, reference: str, environ: Mapping[str, str] = os.environ) -> str:
    """Keep a renamed context's key under the new name; the reference that finds it there."""
    if reference == KEYRING:
        key = _from_keyring(old)
    elif reference == f"file:{key_file(old, environ)}":
        key = files.read_text(key_file(old, environ))
    else:
        return reference
    if not key:
        return reference
    moved = store_key(new, key.strip(), environ)
    forget_key(old, reference, environ)
    return moved
