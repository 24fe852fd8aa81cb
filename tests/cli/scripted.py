"""A server that answers with what a test has written down, one answer a connection, and remembers what it was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

# An answer of this kind is no answer: the connection is cut after the request has been read.
CUT = b""
# A whole answer, or one that is made, and sent, piece by piece.
Scripted = bytes | Iterable[bytes]


@dataclass
class ScriptedServer:
    """The address, and every request's head and body in order."""

    url: str
    seen: list[str] = field(default_factory=list)

    def headers(self, name: str) -> list[str | None]:
        """One header of every request, None where it was missing."""
        found: list[str | None] = []
        for request in self.seen:
            lines = request.partition("\r\n\r\n")[0].split("\r\n")[1:]
            pairs = [line.split(": ", 1) for line in lines]
            found.append(next((value for key, value in pairs if key.lower() == name.lower()), None))
        return found


def answer(status: str, body: str = "", **headers: str) -> bytes:
    """A whole response; header names take underscores for dashes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def events(*chunks: str) -> bytes:
    """An event stream that the server closes after these chunks."""
    return (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + "".join(chunks)
    ).encode()


@contextmanager
def scripted(answers: Sequence[Scripted], *, silent: bool = False) -> Iterator[ScriptedServer]:
    """Serve the answers, one a connection; afterwards connections are cut, or with `silent` left without an answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = ScriptedServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    thread = threading.Thread(target=_serve, args=(listener, list(answers), server, silent), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        # Closing does not wake accept(); shutting down does.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _serve(listener: socket.socket, answers: list[Scripted], server: ScriptedServer, silent: bool) -> None:
    open_ones: list[socket.socket] = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        connection.settimeout(10)
        server.seen.append(_request(connection))
        if silent and not answers:
            open_ones.append(connection)
            continue
        one = answers.pop(0) if answers else CUT
        # Who asked may have left before the last piece.
        with connection, suppress(OSError):
            for piece in [one] if isinstance(one, bytes) else one:
                connection.sendall(piece)
    for connection in open_ones:
        connection.close()


def _request(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return data.decode()
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        body += connection.recv(65_536)
    return (head + b"\r\n\r\n" + body).decode()
