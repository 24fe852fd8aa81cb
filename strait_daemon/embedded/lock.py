"""One owner per data directory: a lock the kernel drops with its holder, carrying who holds it and where it listens."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from strait_daemon.embedded.faults import EmbeddedError, ServerInUseError
from strait_daemon.embedded.process import wait_until

_PATIENCE = 0.25  # seconds


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a data directory (`pid`), and the server it runs there; None until that is up."""

    pid: int
    server: int | None = None
    port: int | None = None
    socket: str | None = None
    version: str | None = None


class DataLock:
    """An exclusive lock on a data directory, held until `release` or the end of this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> DataLock:
        """Take the lock, or raise `ServerInUseError` naming its holder."""
        # Never inherited: a server that kept it would keep the next start out after our death.
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmbeddedError(
                f"Cannot lock {path}: {error.strerror}", hint="run strait as the owner of the data directory"
            ) from error
        try:
            # Looked at a few times: somebody may be asking who holds it, which takes the lock for a moment.
            if not wait_until(lambda: _locked(descriptor), _PATIENCE):
                raise _in_use(path)
        except OSError as error:
            os.close(descriptor)
            raise EmbeddedError(
                f"Cannot lock {path}: {error.strerror}", hint="keep the data directory on a local file system"
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        lock = cls(descriptor)
        # A forked child would go on holding it after our death, and keep the next start out.
        os.register_at_fork(after_in_child=lock._forget)
        lock.record(Holder(os.getpid()))
        return lock

    def record(self, holder: Holder) -> None:
        """Write who holds the directory, for those who find it locked."""
        content = json.dumps(asdict(holder)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def _forget(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)  # leaves the lock to the parent
            self._descriptor = -1

    def release(self) -> None:
        """Let the next one in; the file stays, because removing it would let two holders lock two files."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def holder(path: Path) -> Holder | None:
    """Who holds the lock now, None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    else:
        return None
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Holder:
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (ValueError, TypeError):  # caught between truncation and writing
        return Holder(0)


def _in_use(path: Path) -> ServerInUseError:
    who = _read(path)
    pid = who.pid or None
    serving = f"serves port {who.port} of 127.0.0.1 from it" if who.port else "is starting or stopping with it"
    return ServerInUseError(
        f"The data directory {path.parent} is in use: strait with pid {pid or 'unknown'} {serving}",
        hint="use the running one, stop it first, or choose another data directory",
        pid=pid,
        port=who.port,
    )
