"""Who the server runs as: ourselves, root in a namespace, root as another account, a uid without a name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from strait_daemon.embedded import Account, EmbeddedError, Namespace, Plain, PostgresServer, find_postgres, reset
from strait_daemon.embedded.identity import ROOT_FOLDER, account, fallback, namespace, preferred
from strait_daemon.embedded.process import alive, launch_command, wait_until
from tests.support.owner import ROOT, owning
from tests.support.postgres import binaries_source


def works(server: PostgresServer) -> bool:
    with psycopg.connect(server.dsn) as conn:
        return conn.execute("SELECT 1").fetchone() == (1,)


def as_account(identity: Namespace) -> list[str]:
    """Words that make a command run under a uid that is not root, without root's powers."""
    return launch_command([], identity, signal.SIGTERM)


def test_root_appears_as_somebody_else(place, binaries):
    """In a namespace the server sees an unprivileged uid, while its files stay ours and nothing is copied."""
    identity = namespace()
    with PostgresServer.start(place / "pg", binaries=binaries, identity=identity) as server:
        assert works(server)
        assert server.notice is None
        inner, outer, count = Path(f"/proc/{server.pid}/uid_map").read_text().split()
        assert (int(inner), int(outer), int(count)) == (identity.uid, os.geteuid(), 1)
        assert identity.uid != 0
        assert (place / "pg" / "data").stat().st_uid == os.geteuid()


def test_what_is_preferred():
    """Root is never root to PostgreSQL; a user with a name is himself."""
    if os.geteuid() == 0:
        assert isinstance(preferred(), Namespace)
        assert isinstance(fallback(), Account)
    else:
        assert isinstance(preferred(), Plain)
        with pytest.raises(EmbeddedError, match="no name"):
            fallback()


def test_root_becomes_another_account(place, binaries):
    """Without namespaces: binaries and data in a folder of that account's, which the notice names; a kept password."""
    identity = account(place / "folder")
    if os.geteuid() != 0:
        with pytest.raises(EmbeddedError):
            PostgresServer.start(place / "pg", binaries=binaries, identity=identity)
        return
    for _ in range(2):  # new, and again
        with PostgresServer.start(place / "pg", binaries=binaries, identity=identity) as server:
            assert works(server)
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert f"Uid:\t{identity.uid}\t{identity.uid}\t{identity.uid}\t{identity.uid}\n" in status
            assert "CapEff:\t0000000000000000" in status
            assert "Groups:\t \n" in status
            assert server.notice is not None
            assert str(place / "folder") in server.notice
            assert identity.name in server.notice
    (folder,) = (path for path in (place / "folder").iterdir() if (path / "data").exists())
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (identity.uid, 0o700)
    assert (place / "pg" / "password").stat().st_uid == 0
    assert reset(place / "pg", identity=identity) is True
    assert not folder.exists()


@pytest.fixture
def root_folder() -> Iterator[Path]:
    """The real folder for other accounts; it goes with the test unless it was there before."""
    existed = ROOT_FOLDER.exists()
    yield ROOT_FOLDER
    if not existed:
        shutil.rmtree(ROOT_FOLDER, ignore_errors=True)


def test_where_namespaces_are_forbidden(place, binaries, root_folder):
    """As in a container: root falls back to the account, stays with it, takes the server along when killed."""
    forbidden = [sys.executable, str(ROOT / "tests" / "support" / "without_namespaces.py")]
    with owning(place / "pg", before=forbidden) as owner:
        with psycopg.connect(owner.said["dsn"]) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        owner.kill()
        assert wait_until(lambda: not alive(owner.said["pid"]), 10)
    with PostgresServer.start(place / "pg", binaries=binaries) as server:  # namespaces allowed again
        with psycopg.connect(server.dsn) as conn:
            assert conn.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert server.notice == owner.said["notice"]
        if os.geteuid() == 0:
            assert server.notice is not None
            assert str(root_folder) in server.notice
            assert f"Uid:\t{account().uid}\t" in Path(f"/proc/{server.pid}/status").read_text()
    before = set(root_folder.glob("*/data"))
    assert reset(place / "pg") is True
    assert len(before - set(root_folder.glob("*/data"))) == (1 if os.geteuid() == 0 else 0)


def test_data_made_in_a_namespace_need_one_again(place, binaries):
    """When the system stops allowing namespaces, existing data are not silently replaced by empty ones elsewhere."""
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    program = [sys.executable, "-m", "tests.support.owner", str(place / "pg"), "postgres"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "without_namespaces.py"), *program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if os.geteuid() == 0:
        assert done.returncode != 0
        assert "IdentityRefusedError" in done.stderr
        assert "Operation not permitted" in done.stderr
    else:
        assert done.returncode == 0


def test_binaries_the_account_cannot_reach_are_copied(place):
    """A wheel in a closed home is copied once, without its headers, and nobody but root may change the copy."""
    binaries = find_postgres()
    identity = account(place / "folder")
    if os.geteuid() != 0:
        with pytest.raises(EmbeddedError):
            fallback()
        return
    closed = place / "closed" / "site-packages"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    package = binaries.trees[0].parent
    for tree in binaries.trees:
        shutil.copytree(tree, closed / tree.relative_to(package.parent))
    moved = type(binaries)(
        closed / binaries.bindir.relative_to(package.parent),
        binaries.version,
        tuple(closed / tree.relative_to(package.parent) for tree in binaries.trees),
    )
    with PostgresServer.start(place / "pg", binaries=moved, identity=identity) as server:
        assert works(server)
        program = Path(f"/proc/{server.pid}/exe").readlink()
        assert program.is_relative_to(place / "folder")
        assert (program.stat().st_uid, program.stat().st_mode & 0o022) == (0, 0)
    assert not list((place / "folder").glob("*/pginstall/include"))


def test_binaries_nobody_can_reach_are_an_error(place, binaries):
    """Binaries that are not a wheel's cannot be copied: the error names the account and the way out."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    bindir = closed / "bin"
    bindir.mkdir()
    (bindir / "postgres").symlink_to("/bin/true")
    unreachable = type(binaries)(bindir, "18.1")
    with pytest.raises(EmbeddedError) as caught:
        PostgresServer.start(place / "pg", binaries=unreachable, identity=account(place / "folder"))
    if os.geteuid() == 0:
        assert account().name in caught.value.message
        assert "embedded" in (caught.value.hint or "")


def test_an_ordinary_user(place):
    """Somebody who is not root, without any privilege, with a name: the server is a plain child of his."""
    with owning(place / "pg", before=as_account(namespace())) as owner:
        assert owner.said["identity_uid"] == namespace().uid
        with psycopg.connect(owner.said["dsn"]) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        namespaces = {Path(f"/proc/{pid}/ns/user").readlink() for pid in (owner.pid, owner.said["pid"])}
        assert len(namespaces) == 1


def test_a_uid_without_a_name(place):
    """Containers run under any number: initdb wants a name, a namespace lends one; killed, it leaves nothing."""
    with owning(place / "pg", before=as_account(Namespace(54321, 54321))) as owner:
        assert owner.said["identity_uid"] == 54321
        with psycopg.connect(owner.said["dsn"]) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        namespaces = {Path(f"/proc/{pid}/ns/user").readlink() for pid in (owner.pid, owner.said["pid"])}
        assert len(namespaces) == 2
        owner.kill()
    with owning(place / "pg", before=as_account(Namespace(54321, 54321))) as owner:
        assert owner.said["port"]


def test_a_refused_identity_is_named(place, binaries):
    """A system that does not let us become who was asked for: an error that says so, nothing half-made."""
    identity = Account(2**32 - 2, 2**32 - 2, "impossible", place / "folder") if os.geteuid() else Namespace(-5, 0)
    with pytest.raises(EmbeddedError) as caught:
        PostgresServer.start(place / "pg", binaries=binaries, identity=identity)
    assert caught.value.hint
    assert not list(place.glob("**/data*"))


def test_data_of_another_owner(place, binaries):
    """A directory that belongs to somebody else is refused before anything is written into it."""
    home = place / "pg"
    if os.geteuid() == 0:
        home.mkdir()
        os.chown(home, 12345, 12345)
    else:
        home = Path("/")
    with pytest.raises(EmbeddedError, match="belongs to uid"):
        PostgresServer.start(home, binaries=binaries)
    assert not (home / "lock").exists()


def test_the_launcher_ends_when_its_parent_is_gone(place):
    """Asked too late, when the parent has already died, it does not start an orphan."""
    words = launch_command([sys.executable, "-c", "print('started')"], Plain(), signal.SIGTERM)
    words[4] = "1"  # not our pid
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (97, "")


def test_the_source_is_as_asked(binaries):
    """The session tests the binaries it was asked to test."""
    assert find_postgres(binaries_source()) == binaries
