"""Handing over to the daemon: the same process becomes `python -m strait_daemon …`.

Nothing secret is put on the new command line; URLs with passwords and keys travel by environment.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
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


def dev_is_running(db: str | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a living `dev` uses that data folder (None = the default one), by the note that it leaves there."""
    folder = Path(db) if db else files.data_folder(environ) / "postgres"
    try:
        pid = json.loads((folder / "dev.json").read_text(encoding="utf-8"))["pid"]
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
