"""After a violent end: whatever a dead owner left behind, the next start works and loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from strait_daemon.embedded import PostgresServer, reset
from strait_daemon.embedded.identity import preferred
from strait_daemon.embedded.process import LAUNCHER, alive, end_all, servers_in, wait_until
from tests.support.owner import ROOT, owning


def write(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def kept(server: PostgresServer) -> bool:
    with psycopg.connect(server.dsn) as conn:
        return conn.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_killed_parent_takes_the_server_along(place, binaries):
    """SIGKILL of the owner: the server ends by itself, and the next start finds everything committed."""
    with owning(place / "pg") as owner:
        write(owner.said["dsn"])
        owner.kill()
        assert wait_until(lambda: not alive(owner.said["pid"]), 10)
    with PostgresServer.start(place / "pg", binaries=binaries) as server:
        assert kept(server)


def test_a_start_right_after_the_kill(place, binaries):
    """The next start does not wait for the old server to be gone: it sees to that itself."""
    with owning(place / "pg") as owner:
        write(owner.said["dsn"])
        owner.kill()
        with PostgresServer.start(place / "pg", binaries=binaries) as server:
            assert kept(server)
            assert server.pid != owner.said["pid"]


# In good order, or at once: a disk that needs ten seconds for the last checkpoint is not waited for.
ENDED = {0, 1}


def orphan(home: Path, bindir: Path) -> subprocess.Popen[bytes]:
    """A postmaster on the data of `home` that no death of a parent ends."""
    (home / "run").mkdir(mode=0o700, exist_ok=True)
    words = [
        sys.executable,
        "-I",
        "-S",
        str(LAUNCHER),
        str(os.getpid()),
        "0",
        preferred().spell(),
        f"{bindir}/postgres",
    ]
    options = ["-D", str(home / "data"), "-c", "listen_addresses=", "-c", f"unix_socket_directories={home / 'run'}"]
    process = subprocess.Popen([*words, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid_file = home / "data" / "postmaster.pid"
    assert wait_until(lambda: pid_file.exists() and "ready" in pid_file.read_text(), 30)
    return process


def test_an_orphan_is_ended(place, binaries):
    """A server that outlived its owner is ended and replaced, its data kept."""
    with PostgresServer.start(place / "pg", binaries=binaries) as server:
        write(server.dsn)
    with orphan(place / "pg", binaries.bindir) as process:
        with PostgresServer.start(place / "pg", binaries=binaries) as server:
            assert kept(server)
        assert process.wait(5) in ENDED


def test_reset_ends_an_orphan(place, binaries):
    """`dev reset` does not remove files under a running server."""
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    with orphan(place / "pg", binaries.bindir) as process:
        assert reset(place / "pg") is True
        assert process.wait(5) in ENDED
    assert not (place / "pg" / "data").exists()


def test_a_killed_postmaster_with_busy_children(place, binaries):
    """SIGKILL of the server itself in the middle of a statement: what stays of it is cleared, the next start recovers."""
    with PostgresServer.start(place / "pg", binaries=binaries) as server:
        write(server.dsn)
        conn = psycopg.connect(server.dsn)
        conn.pgconn.send_query(b"SELECT pg_sleep(60)")
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: not server.running, 10)
        server.stop()
        conn.close()
    assert servers_in(place / "pg" / "data", "postgres") == []
    with PostgresServer.start(place / "pg", binaries=binaries) as server:
        assert kept(server)


@pytest.mark.parametrize("whose", ["nobody's", "a stranger's"])
def test_a_stale_pid_file(place, binaries, whose):
    """A pid file of the dead, its pid free or given to another process since, neither stops us nor harms that one."""
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    with subprocess.Popen(["sleep", "60"], cwd=place / "pg" / "data") as stranger:
        pid = stranger.pid if whose == "a stranger's" else 2**22 - 1
        (place / "pg" / "data" / "postmaster.pid").write_text(f"{pid}\n{place}/pg/data\n0\n5432\n\n\n  0 0\nready\n")
        with PostgresServer.start(place / "pg", binaries=binaries) as server:
            assert server.pid != pid
        assert stranger.poll() is None
        stranger.kill()


def test_stale_sockets_and_lock_file(place, binaries):
    """Left-over socket files and a lock file with a dead holder's words in it do not matter."""
    home = place / "pg"
    PostgresServer.start(home, binaries=binaries).stop()
    (home / "run").mkdir()
    (home / "run" / ".s.PGSQL.1.lock").write_text("1\n")
    (home / "lock").write_text('{"pid": 1, "server": 1, "port": 1')
    assert PostgresServer.attach(home) is None
    PostgresServer.start(home, binaries=binaries).stop()


def test_killed_while_making_the_cluster(place, binaries):
    """An owner killed during initdb leaves no half-made cluster behind that a start would take for whole."""
    home = place / "pg"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.owner", str(home), "postgres"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert wait_until(lambda: any(home.glob("data.new-*/base")), 30)
    process.kill()
    process.wait(10)
    assert not (home / "data").exists()
    with PostgresServer.start(home, binaries=binaries) as server:
        write(server.dsn)
        assert kept(server)


def test_a_forked_child_does_not_hold_the_directory(place, binaries):
    """A child forked from the owner may outlive it without keeping the next start out."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from strait_daemon.embedded.lock import DataLock\n"
        "lock = DataLock.acquire(Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    sys.stdin.read()\n"
        "    os._exit(0)\n"
    )
    home = place / "pg"
    home.mkdir(mode=0o700)
    with subprocess.Popen([sys.executable, "-c", code, str(home / "lock")], cwd=ROOT, stdin=subprocess.PIPE) as process:
        assert process.wait(10) == 0
        with PostgresServer.start(home, binaries=binaries) as server:
            write(server.dsn)
            assert kept(server)


def test_a_server_that_ignores_us_is_forced(place):
    """The escalation goes on to SIGKILL, which nobody can ignore."""
    deaf = ["sh", "-c", "trap '' INT; echo; exec sleep 60"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"

        def survivors() -> list[int]:
            return [process.pid] if process.poll() is None else []

        assert end_all(survivors, ((signal.SIGINT, 0.05),)) is False
        assert end_all(survivors, ((signal.SIGINT, 0.05), (signal.SIGKILL, 10.0))) is True
        assert process.returncode == -signal.SIGKILL


def test_stop_while_clients_are_connected(place, binaries):
    """A fast stop does not wait for clients to leave."""
    server = PostgresServer.start(place / "pg", binaries=binaries)
    with psycopg.connect(server.dsn) as conn:
        server.stop()
        assert not server.running
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")
