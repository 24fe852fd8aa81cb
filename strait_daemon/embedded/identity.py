"""Who a bundled server runs as: PostgreSQL refuses root, so root must appear, or become, somebody else."""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from strait_daemon.embedded.faults import EmbeddedError

ROOT_FOLDER = Path("/var/lib/strait-dev")
"""Where binaries and data live when root has to hand them to another uid: the home of root is closed to it."""

ON_LINUX: bool = sys.platform == "linux"

_ACCOUNTS = ("strait", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Plain:
    """As ourselves."""

    def spell(self) -> str:
        """The launcher's spelling of this identity."""
        return "plain"


@dataclass(frozen=True, slots=True)
class Namespace:
    """In a user namespace where we appear as `uid`: files stay ours, nothing is copied."""

    uid: int
    gid: int

    def spell(self) -> str:
        """The launcher's spelling of this identity."""
        return f"namespace:{self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True)
class Account:
    """As the unprivileged account `uid`, with binaries and data under `folder`, which that account can reach."""

    uid: int
    gid: int
    name: str
    folder: Path

    def spell(self) -> str:
        """The launcher's spelling of this identity."""
        return f"uid:{self.uid}:{self.gid}"


Identity = Plain | Namespace | Account


def namespace() -> Namespace:
    """A namespace in which we appear as an account that exists (initdb looks its own user up)."""
    account = _unprivileged()
    return Namespace(account.pw_uid, account.pw_gid)


def account(folder: Path = ROOT_FOLDER) -> Account:
    """The unprivileged account to become when namespaces are not allowed."""
    entry = _unprivileged()
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name, folder)


def preferred() -> Identity:
    """The first identity to try: ourselves, unless we are root or have no name, which PostgreSQL refuses."""
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Plain()
    if ON_LINUX:
        return namespace()
    return fallback()


def fallback() -> Account:
    """What to try when namespaces are refused; only root can become somebody else."""
    if os.geteuid() != 0:
        raise EmbeddedError(
            f"PostgreSQL cannot run as uid {os.geteuid()}: it has no name in the user database, "
            "and this system allows no user namespace",
            hint="add the uid to /etc/passwd, or point strait at a PostgreSQL of your own with --database URL",
        )
    return account()


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _unprivileged() -> pwd.struct_passwd:
    """An existing account that is not root: ours by name if there is one, then PostgreSQL's, then nobody."""
    entries = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in _ACCOUNTS:
        if name in entries:
            return entries[name]
    if not entries:
        raise EmbeddedError(
            "PostgreSQL refuses to run as root, and this system has no other account",
            hint="run strait as an unprivileged user, or point it at a PostgreSQL of your own with --database URL",
        )
    return min(entries.values(), key=lambda entry: entry.pw_uid)
