"""The bundled PostgreSQL in ordinary life: start, connect, share, refuse, stop, reset."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest

from strait_daemon.embedded import (
    EmbeddedError,
    PostgresServer,
    ServerInUseError,
    ValkeyServer,
    default_data_dir,
    reset,
)
from strait_daemon.embedded.cluster import layout_for
from strait_daemon.embedded.identity import preferred
from strait_daemon.embedded.process import alive, free_port, wait_until
from tests.support.owner import owning


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def server(binaries):
    """A server for the tests that only look at it."""
    with (
        tempfile.TemporaryDirectory(prefix="strait-test-") as directory,
        PostgresServer.start(Path(directory) / "pg", binaries=binaries) as running,
    ):
        yield running


def runs(server: PostgresServer) -> bool:
    return server.running


def one(dsn: str, statement: str) -> object:
    with psycopg.connect(dsn) as conn:
        row = conn.execute(statement).fetchone()
    assert row is not None
    return row[0]


def test_data_survive_stop_and_start(place, binaries):
    """What was written before a stop is there after the next start, over socket and loopback alike."""
    with PostgresServer.start(place / "pg", binaries=binaries) as server, psycopg.connect(server.dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert not alive(server.pid)
    with PostgresServer.start(place / "pg", binaries=binaries) as server:
        assert one(server.dsn, "SELECT answer FROM kept") == 42
        assert one(server.tcp_dsn, "SELECT answer FROM kept") == 42


def test_stop_twice_and_stop_leaves_no_sockets(place, binaries):
    """Stop may be called any number of times and takes the socket directory with it."""
    server = PostgresServer.start(place / "pg", binaries=binaries)
    assert runs(server)
    sockets = server.socket_dir
    assert sockets.is_dir()
    server.stop()
    server.stop()
    assert not runs(server)
    assert not sockets.exists()


@pytest.mark.parametrize("route", ["dsn", "tcp_dsn"])
@pytest.mark.parametrize("password", ["wrong", ""])
def test_the_password_is_needed(server, route, password):
    """Neither the socket nor loopback lets anybody in without the password."""
    url = getattr(server, route)
    secret = (server.data_dir / "password").read_text().strip()
    assert secret in url
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(secret, password), passfile="/dev/null", connect_timeout=5)


def test_trust_is_nowhere(server):
    """Every line of pg_hba.conf asks for scram, and passwords are kept as scram."""
    lines = (server.data_dir / "data" / "pg_hba.conf").read_text().splitlines()
    methods = {line.split()[-1] for line in lines if line.strip() and not line.startswith("#")}
    assert methods == {"scram-sha-256"}
    assert str(one(server.dsn, "SELECT rolpassword FROM pg_authid WHERE rolcanlogin")).startswith("SCRAM-SHA-256$")


def test_only_we_can_read_it(server):
    """Home, password, log and sockets are the owner's alone; the server listens on loopback only."""
    assert mode(server.data_dir) == 0o700
    assert mode(server.data_dir / "password") == 0o600
    assert mode(server.log) == 0o600
    assert mode(server.socket_dir) == 0o700
    assert one(server.dsn, "SHOW listen_addresses") == "127.0.0.1"


def test_the_password_shows_nowhere(server):
    """Not in the process list, the log, the lock file, the repr or an error."""
    secret = (server.data_dir / "password").read_text().strip()
    listing = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
    assert str(server.data_dir) in listing
    assert secret not in listing
    assert secret not in server.log.read_text()
    assert secret not in (server.data_dir / "lock").read_text()
    assert secret not in repr(server)
    with pytest.raises(ServerInUseError) as caught:
        PostgresServer.start(server.data_dir)
    assert secret not in f"{caught.value.message} {caught.value.hint}"


def test_settings_are_durable_and_may_be_laid_over(place, binaries):
    """Commits are synced unless a caller says otherwise; his settings win, those that keep it private stay."""
    with PostgresServer.start(
        place / "pg", binaries=binaries, settings={"work_mem": "7MB", "listen_addresses": "*"}
    ) as server:
        assert one(server.dsn, "SHOW fsync") == "on"
        assert one(server.dsn, "SHOW synchronous_commit") == "on"
        assert one(server.dsn, "SHOW jit") == "off"
        assert one(server.dsn, "SHOW work_mem") == "7MB"
        assert one(server.dsn, "SHOW listen_addresses") == "127.0.0.1"


def test_environment_cannot_bend_it(place, binaries, monkeypatch):
    """PG* variables and secrets of our own environment do not reach the server."""
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("INTERNAL_SECRET", "not-for-servers")
    with PostgresServer.start(place / "pg", binaries=binaries) as server:
        environment = Path(f"/proc/{server.pid}/environ").read_bytes()
    assert b"not-for-servers" not in environment
    assert b"/nonexistent" not in environment


def test_a_second_start_is_refused_and_names_the_first(place, binaries):
    """The error of a second start carries pid and port of the running one."""
    with owning(place / "pg") as owner:
        with pytest.raises(ServerInUseError) as caught:
            PostgresServer.start(place / "pg", binaries=binaries)
        assert (caught.value.pid, caught.value.port) == (owner.pid, owner.said["port"])
        assert str(owner.pid) in caught.value.message
        assert str(owner.said["port"]) in caught.value.message
        assert caught.value.hint
        assert one(owner.said["dsn"], "SELECT 1") == 1


def test_of_many_starts_at_once_one_wins(place, binaries):
    """Racers on a new directory: exactly one server, everybody else is refused clearly."""
    won: list[PostgresServer] = []
    refused: list[ServerInUseError] = []

    def race() -> None:
        try:
            won.append(PostgresServer.start(place / "pg", binaries=binaries))
        except ServerInUseError as error:
            refused.append(error)

    racers = [threading.Thread(target=race) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    try:
        assert (len(won), len(refused)) == (1, 3)
        assert one(won[0].dsn, "SELECT 1") == 1
    finally:
        for server in won:
            server.stop()


def test_a_running_server_can_be_shared(place):
    """`attach` gives a second process the same server and leaves its life to the owner."""
    assert PostgresServer.attach(place / "pg") is None
    with owning(place / "pg") as owner:
        shared = PostgresServer.attach(place / "pg")
        assert shared is not None
        assert (shared.pid, shared.port, shared.dsn) == (owner.said["pid"], owner.said["port"], owner.said["dsn"])
        shared.stop()
        assert one(shared.dsn, "SELECT 1") == 1
        assert runs(shared)
    assert not runs(shared)
    assert PostgresServer.attach(place / "pg") is None


def test_it_outlives_the_thread_that_started_it(place, binaries):
    """An asyncio caller starts it in a pool thread; the end of that thread must not be the server's."""
    started: list[PostgresServer] = []
    thread = threading.Thread(target=lambda: started.append(PostgresServer.start(place / "pg", binaries=binaries)))
    thread.start()
    thread.join(60)
    with started[0] as server:
        assert not wait_until(lambda: not server.running, 0.3)
        assert one(server.dsn, "SELECT 1") == 1


def test_the_terminal_does_not_reach_it(server):
    """Ctrl-C goes to the foreground group; the server has a session of its own and waits for our drain."""
    assert os.getsid(server.pid) == server.pid


def test_a_taken_port_is_replaced(place, binaries):
    """A port grabbed by somebody else in between is replaced by another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        drawn = [free_port(), taken.getsockname()[1]]
        with PostgresServer.start(place / "pg", binaries=binaries, ports=drawn.pop) as server:
            assert drawn == []
            assert one(server.tcp_dsn, "SELECT 1") == 1


def test_every_port_taken_is_an_error(place, binaries):
    """It does not try for ever, and says what was wrong."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EmbeddedError, match="did not start"):
        PostgresServer.start(place / "pg", binaries=binaries, ports=lambda: taken.getsockname()[1])


def test_a_long_path_gets_a_short_socket(place, binaries):
    """Beyond a socket's 103 bytes the socket moves to a private folder elsewhere, and is cleaned up."""
    home = place / ("d" * 60) / ("e" * 60)
    with PostgresServer.start(home, binaries=binaries) as server:
        sockets = server.socket_dir
        assert len(os.fsencode(sockets)) < 80
        assert mode(sockets) == 0o700
        assert one(server.dsn, "SELECT 1") == 1
    assert not sockets.exists()


def test_odd_characters_in_the_path(place, binaries):
    """Spaces, percent and umlauts in the directory do not break the URL."""
    with PostgresServer.start(place / "my data 100% ü&?", binaries=binaries) as server:
        assert one(server.dsn, "SELECT 1") == 1


def test_other_majors_data_names_both_ways_out(place, binaries):
    """Data of another major version is left alone; the error names both versions, reset and the way to keep it."""
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    version = place / "pg" / "data" / "PG_VERSION"
    version.write_text("13\n")
    with pytest.raises(EmbeddedError) as caught:
        PostgresServer.start(place / "pg", binaries=binaries)
    assert "PostgreSQL 13" in caught.value.message
    assert binaries.version in caught.value.message
    assert caught.value.hint is not None
    assert "dev reset" in caught.value.hint
    assert "pg_dump" in caught.value.hint
    assert version.read_text() == "13\n"


def test_a_refused_setting_is_in_the_error(place, binaries):
    """When the server does not start, its own reason and the log are named, and the next start works."""
    with pytest.raises(EmbeddedError) as caught:
        PostgresServer.start(place / "pg", binaries=binaries, settings={"work_mem": "plenty"})
    assert "work_mem" in caught.value.message
    assert "server.log" in (caught.value.hint or "")
    PostgresServer.start(place / "pg", binaries=binaries).stop()


def test_a_lost_password_file(place, binaries):
    """Without the password file nothing is started, and the way out is named."""
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    (place / "pg" / "password").unlink()
    with pytest.raises(EmbeddedError, match="password file"):
        PostgresServer.start(place / "pg", binaries=binaries)


def test_foreign_directories_are_refused_untouched(place, binaries):
    """A bare data directory, a file, and a `data` folder that is something else are not written to."""
    bare = place / "bare"
    bare.mkdir()
    (bare / "PG_VERSION").write_text("18\n")
    file = place / "file"
    file.write_text("mine")
    other = place / "other"
    (other / "data").mkdir(parents=True)
    (other / "data" / "thesis.txt").write_text("mine")
    for path, words in ((bare, "--database URL"), (file, "name a directory"), (other, "--db DIR")):
        with pytest.raises(EmbeddedError) as caught:
            PostgresServer.start(path, binaries=binaries)
        assert words in (caught.value.hint or "")
    assert (other / "data" / "thesis.txt").read_text() == "mine"
    assert [entry.name for entry in bare.iterdir()] == ["PG_VERSION"]


def test_reset_removes_only_what_is_ours(place, binaries):
    """Reset takes data, password and log, leaves a stranger's file, and the next start begins anew."""
    home = place / "pg"
    assert reset(home) is False
    PostgresServer.start(home, binaries=binaries).stop()
    (home / "notes.txt").write_text("mine")
    first = (home / "password").read_text()
    assert reset(home) is True
    assert {entry.name for entry in home.iterdir()} == {"lock", "notes.txt"}
    assert reset(home) is False
    PostgresServer.start(home, binaries=binaries).stop()
    assert (home / "password").read_text() != first


def test_reset_spares_what_is_not_a_cluster(place):
    """A `data` folder without a cluster in it is somebody's own."""
    other = place / "other"
    (other / "data").mkdir(parents=True)
    (other / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(EmbeddedError):
        reset(other)
    assert (other / "data" / "thesis.txt").read_text() == "mine"


def test_reset_of_a_running_server_is_refused(server):
    """Nothing is removed under a running server."""
    with pytest.raises(ServerInUseError):
        reset(server.data_dir)
    assert one(server.dsn, "SELECT 1") == 1


def test_where_data_live_by_default(monkeypatch, tmp_path):
    """XDG_DATA_HOME when it is absolute, as the specification has it, else ~/.local/share."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "strait" / "postgres"
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert default_data_dir() == Path.home() / ".local" / "share" / "strait" / "postgres"


def test_the_launcher_and_imports_stay_light():
    """Importing the bundled servers loads neither psycopg nor pydantic: `dev` starts them before all else."""
    code = (
        "import sys, strait_daemon.embedded; print([m for m in ('psycopg', 'pydantic', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_start_is_quick(place, binaries):
    """A new cluster in seconds, a warm start well under one: `dev` lives on it."""
    began = time.monotonic()
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    made = time.monotonic()
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    assert made - began < 10
    assert time.monotonic() - made < 2


def test_the_log_is_turned(place, binaries):
    """A log that has grown is kept once and begun anew."""
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    log = layout_for(place / "pg", preferred()).log
    log.write_bytes(b"x" * (11 * 1024 * 1024))
    PostgresServer.start(place / "pg", binaries=binaries).stop()
    assert log.stat().st_size < 1024 * 1024
    assert log.with_suffix(".log.1").stat().st_size > 10 * 1024 * 1024


def test_context_of_both_servers(place, binaries):
    """Both servers are context managers and end with their block, also when it raises."""
    postgres = PostgresServer.start(place / "pg", binaries=binaries)
    valkey = ValkeyServer.start(place / "vk")
    with pytest.raises(ZeroDivisionError), postgres, valkey:
        raise ZeroDivisionError
    assert (postgres.running, valkey.running) == (False, False)
