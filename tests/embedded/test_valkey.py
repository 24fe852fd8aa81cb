"""The bundled Valkey: start, password, nothing kept, dies with its owner."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from strait_daemon.embedded import EmbeddedError, ValkeyServer
from strait_daemon.embedded.process import alive, free_port, wait_until
from tests.support.owner import owning


@pytest.fixture
def server(place):
    with ValkeyServer.start(place / "valkey") as running:
        yield running


def test_start_use_stop(server):
    """A client with the URL can use it; after the stop nothing listens any more."""
    with redis.Redis.from_url(server.url) as client:
        assert client.set("a", "1")
        assert client.get("a") == b"1"
    server.stop()
    server.stop()
    assert not alive(server.pid)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_the_password_is_needed(server):
    """Without the password, or with another, nobody gets an answer."""
    for password in (None, "wrong"):
        once = Retry(NoBackoff(), 0)
        with (
            redis.Redis(port=server.port, password=password, retry=once) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_the_password_shows_nowhere(server, place):
    """It is neither in the process list nor in any file nor in the repr."""
    secret = server.url.split("@")[0].rpartition(":")[2]
    assert len(secret) >= 32
    assert secret.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert secret not in repr(server)
    files = [path for path in (place / "valkey").rglob("*") if path.is_file()]
    assert files
    assert all(secret.encode() not in path.read_bytes() for path in files)


def test_loopback_only_and_nothing_kept(server, place):
    """It listens on 127.0.0.1 and writes no snapshot, not even when stopped."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        client.set("a", "1")
    server.stop()
    assert not [path for path in (place / "valkey").rglob("*") if path.suffix in {".rdb", ".aof"}]


def test_it_dies_with_its_owner(place):
    """SIGKILL of the owner leaves no Valkey."""
    with owning(place / "valkey", "valkey") as owner:
        assert alive(owner.said["pid"])
        owner.kill()
        assert wait_until(lambda: not alive(owner.said["pid"]), 10)


def test_a_taken_port_is_replaced(place):
    """A port grabbed by somebody else in between is replaced by another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        drawn = [free_port(), taken.getsockname()[1]]
        with (
            ValkeyServer.start(place / "valkey", ports=drawn.pop) as server,
            redis.Redis.from_url(server.url) as client,
        ):
            assert client.ping()
            assert drawn == []


def test_a_binary_that_does_not_start(place):
    """A server that ends at once is an error that names the binary and the way out."""
    with pytest.raises(EmbeddedError) as caught:
        ValkeyServer.start(place / "valkey", binary=Path("/bin/false"))
    assert "/bin/false" in caught.value.message
    assert "REDIS_URL" in (caught.value.hint or "")


def test_two_side_by_side(place):
    """Several may share a directory; each has its own port and password."""
    with ValkeyServer.start(place / "valkey") as one, ValkeyServer.start(place / "valkey") as other:
        assert one.port != other.port
        assert one.url != other.url
