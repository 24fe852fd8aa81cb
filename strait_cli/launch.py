"""Handing over to the daemon: the same process becomes `python -m strait_daemon …`.

Nothing secret is put on the new command line; URLs with passwords and keys travel by environment.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from strait_cli import files

DEV_FILES: Final = ("internal_secret", "jwt_signing_key")


def daemon(verb: Sequence[str], environ: Mapping[str, str] | None = None) -> NoReturn:
    """Become the daemon; `environ` is laid over the present environment. Signals and the pid stay the same."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # -P: a file of the working directory that happens to be called like a module of ours is not run.
    command = [sys.executable, "-P", "-m", "strait_daemon", *verb]
    os.execve(sys.executable, command, {**os.environ, **(environ or {})})  # noqa: S606 - that is the point


def setting(name: str, value: str | int | None) -> dict[str, str]:
    """A daemon setting for the environment; it also outranks the same setting with the STRAIT_ prefix."""
    return {} if value is None else {name: str(value), f"STRAIT_{name}": str(value)}


def dev_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where `dev` keeps its two secrets; the daemon looks in the same place."""
    return files.data_folder(environ) / "dev"


def dev_secret_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The file with the internal secret of `dev`; it and the signing key are made by whoever comes first."""
    for name in DEV_FILES:
        files.create_private(dev_folder(environ) / name, secrets.token_urlsafe(32) + "\n")
    return dev_folder(environ) / DEV_FILES[0]
