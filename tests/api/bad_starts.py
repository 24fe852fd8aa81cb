"""Ways to start a daemon that must end with exit 3: the rows of the table of bad input that are no requests."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from strait_daemon.settings import PLACEHOLDERS
from tests.support.daemon import SECRET, SIGNING_KEY, environment, free_port
from tests.support.forked import fork

PASSWORD: Final = "the-password-of-the-database"
PLACEHOLDER: Final = min(PLACEHOLDERS)
SHORT: Final = "only-thirty-one-characters-long"
# What may be said by nobody, whatever is wrong.
SECRETS: Final = (SECRET, SIGNING_KEY, PASSWORD, SHORT)
CLOSED, TAKEN, OLD, OPEN, GOOD = "<closed>", "<taken>", "<old>", "<open>", "<good>"


@dataclass(frozen=True)
class Start:
    """One fault: the settings laid over good ones ("" = not set), and words that the message must have.

    `<closed>`, `<taken>` and `<old>` in a value stand for ports: nobody's, another program's, an old PostgreSQL's;
    `<open>` is a free one. `<good>` is the URL of a database that works.
    """

    name: str
    settings: Mapping[str, str]
    words: tuple[str, ...]
    mode: tuple[str, ...] = field(default=("serve",))


def url(port: str) -> str:
    """A database URL with a password."""
    return f"postgresql://strait:{PASSWORD}@127.0.0.1:{port}/strait"


_NEW_SECRET = "openssl rand -base64 32"

STARTS: Final = [
    Start(
        "no setting at all",
        {"DATABASE_URL": "", "INTERNAL_SECRET": "", "JWT_SIGNING_KEY": ""},
        ("3 fault", "DATABASE_URL", "strait dev", "INTERNAL_SECRET", "JWT_SIGNING_KEY", _NEW_SECRET),
    ),
    Start("no database", {"DATABASE_URL": ""}, ("DATABASE_URL is not set", "postgresql://", "strait dev")),
    Start("no secret", {"INTERNAL_SECRET": ""}, ("INTERNAL_SECRET is not set", _NEW_SECRET)),
    Start("no signing key", {"JWT_SIGNING_KEY": ""}, ("JWT_SIGNING_KEY is not set", _NEW_SECRET)),
    Start("a short secret", {"INTERNAL_SECRET": SHORT}, ("INTERNAL_SECRET", "31 characters", "32", _NEW_SECRET)),
    Start("a short signing key", {"JWT_SIGNING_KEY": "x"}, ("JWT_SIGNING_KEY", "1 character", "32", _NEW_SECRET)),
    Start(
        "a placeholder for all the world",
        {"INTERNAL_SECRET": PLACEHOLDER, "HOST": "0.0.0.0"},
        ("INTERNAL_SECRET", "placeholder", _NEW_SECRET),
    ),
    Start("a database that is none", {"DATABASE_URL": "mysql://db/x"}, ("DATABASE_URL", "postgresql://")),
    Start("nobody at the database's port", {"DATABASE_URL": url(CLOSED)}, ("127.0.0.1:", "DATABASE_URL", "start it")),
    Start(
        "a database that does not exist",
        {"DATABASE_URL": f"{GOOD}_no_such"},
        ("does not exist", "DATABASE_URL"),
    ),
    Start("a PostgreSQL that is too old", {"DATABASE_URL": url(OLD)}, ("version 13", "14 or newer", "127.0.0.1:")),
    Start("a port in use", {"PORT": TAKEN}, ("in use", "PORT")),
    Start("an address of another machine", {"HOST": "192.0.2.1"}, ("192.0.2.1", "HOST")),
    Start("a port that is none", {"PORT": "70000"}, ("PORT", "65535")),
    Start("a mode that is none", {"MODE": "both"}, ("MODE", "'all'", "'worker'")),
    Start("a time that is none", {"DRAIN_TIMEOUT": "soon"}, ("DRAIN_TIMEOUT",)),
    Start(
        "a threshold below its bound",
        {"STALE_THRESHOLD": "10", "HEARTBEAT_INTERVAL": "10"},
        ("STALE_THRESHOLD (10 s)", "three times HEARTBEAT_INTERVAL (10 s)"),
    ),
    Start(
        "networks that are none",
        {"ALLOW_PRIVATE_ENDPOINTS": "10.0.0.1/8"},
        ("ALLOW_PRIVATE_ENDPOINTS", "10.0.0.1/8", "true, false, or networks"),
    ),
    Start("another kind of broker", {"REDIS_URL": "amqp://host"}, ("REDIS_URL", "redis://")),
    Start("migrations of nothing", {"DATABASE_URL": ""}, ("DATABASE_URL is not set",), ("migrate", "up")),
    Start("migrations of an old one", {"DATABASE_URL": url(OLD)}, ("version 13", "14 or newer"), ("migrate", "up")),
]


def begin(start: Start, database_url: str) -> tuple[int, str]:
    """Start the daemon with the fault; its exit code and all it said."""
    with tempfile.TemporaryDirectory(prefix="strait-test-") as home, taken_port() as taken, old_postgres() as old:
        ports = {CLOSED: str(free_port()), TAKEN: str(taken), OLD: str(old), OPEN: str(free_port())}
        good = {
            "DATABASE_URL": GOOD,
            "INTERNAL_SECRET": SECRET,
            "JWT_SIGNING_KEY": SIGNING_KEY,
            "PORT": OPEN,
            "LOG_FORMAT": "text",
        }
        settings = {name: _filled(value, ports, database_url) for name, value in {**good, **start.settings}.items()}
        env, output = (
            environment(Path(home), {name: value for name, value in settings.items() if value}),
            Path(home, "out"),
        )
        process = fork(start.mode, env, output)
        try:
            return process.wait(60), output.read_text()
        finally:
            process.kill()


def _filled(value: str, ports: Mapping[str, str], database_url: str) -> str:
    for name, port in ports.items():
        value = value.replace(name, port)
    before, _, after = database_url.partition("?")
    return value.replace(f"{GOOD}_no_such", f"{before}_no_such?{after}").replace(GOOD, database_url)


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@contextmanager
def old_postgres() -> Iterator[int]:
    """A port where something shakes hands as PostgreSQL 13 does, and knows nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with closing(connection):
                    _shake_hands(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _shake_hands(connection: socket.socket) -> None:
    """The start-up of protocol 3.0: no encryption, no password, then the parameters and "ready"."""
    while True:
        length, code = struct.unpack("!II", connection.recv(8, socket.MSG_WAITALL))
        if code not in {80_877_103, 80_877_104}:  # a request for TLS or GSS is declined, and the client goes on
            break
        connection.sendall(b"N")
    connection.recv(length - 8, socket.MSG_WAITALL)
    parameters = {
        "server_version": "13.14",
        "server_encoding": "UTF8",
        "client_encoding": "UTF8",
        "DateStyle": "ISO, MDY",
        "TimeZone": "UTC",
        "integer_datetimes": "on",
        "standard_conforming_strings": "on",
    }
    said = _message(b"R", struct.pack("!I", 0))
    for name, value in parameters.items():
        said += _message(b"S", f"{name}\0{value}\0".encode())
    connection.sendall(said + _message(b"K", struct.pack("!II", 1, 1)) + _message(b"Z", b"I"))
    while connection.recv(4096):  # until it hangs up
        pass


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
