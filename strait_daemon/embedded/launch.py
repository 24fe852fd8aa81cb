"""The first program of a server's process: ties its life to its parent's, sheds root, then becomes the server.

It is run by its path with `python -I -S`, never imported by the daemon: between fork and exec only a program of its own
may do these things safely, because the daemon has threads. It must stay free of every import outside the standard
library.

    launch.py PARENT_PID DEATH_SIGNAL IDENTITY PROGRAM [ARGUMENT…]

IDENTITY is `plain`, `namespace:UID:GID` (a user namespace in which we appear as UID) or `uid:UID:GID` (become UID).
Exit status 97 means that the identity could not be taken on, 126 that PROGRAM cannot be executed as it; the reason is
one line on stderr.
"""

from __future__ import annotations

import ctypes
import os
import sys

REFUSED = 97
NOT_EXECUTABLE = 126
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Take on the identity, tie the life, replace this process; returns only when refused."""
    parent, death_signal, identity, *command = argv
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)  # now: another account may not be able to read our libraries
    kind, _, ids = identity.partition(":")
    if kind != "plain":
        uid, gid = (int(part) for part in ids.split(":"))
        if kind == "namespace":
            _enter_namespace(libc, uid, gid)
        else:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
    # After the change of identity: the kernel forgets the death signal when credentials change.
    _die_with(libc, int(parent), int(death_signal))
    os.chdir("/")
    try:
        os.execv(command[0], command)  # noqa: S606  this program exists to become another
    except OSError as error:
        sys.stderr.write(f"launch: {command[0]}: {error.strerror}\n")
        sys.exit(NOT_EXECUTABLE)


def _enter_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Appear as `uid` and `gid` while the kernel goes on seeing us as who we are: files keep their owner."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "user namespace")
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _die_with(libc: ctypes.CDLL, parent: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when the parent dies; where it cannot, the next start cleans up."""
    if not sys.platform.startswith("linux"):
        return
    libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(REFUSED)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.stderr.write(f"launch: {error}\n")
        sys.exit(REFUSED)
