"""A TCP proxy between the daemon and PostgreSQL that can cut, delay, freeze (half-open), refuse, and lose an answer.

It understands just enough of PostgreSQL's protocol to cut a connection exactly after a chosen statement has committed
and before its answer is passed on. What is not PostgreSQL's it carries unread.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

_CHUNK: Final = 65_536
# The first word of a request to talk in cleartext or not (SSL, GSS) instead of a protocol version.
_NEGOTIATIONS: Final = frozenset({80_877_103, 80_877_104})


class _Frames:
    """Splits one direction of a conversation into messages (type, body); what is incomplete waits."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        self.rest += data
        messages = []
        while len(self.rest) >= 5:
            length = 1 + int(struct.unpack("!I", self.rest[1:5])[0])
            if len(self.rest) < length:
                break
            messages.append((self.rest[:1], self.rest[5:length]))
            self.rest = self.rest[length:]
        return messages


@dataclass(eq=False)
class _Link:
    """One connection through the proxy, and what the client has asked for since the server was last ready."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    asked: bytes = b""
    statements: dict[bytes, bytes] = field(default_factory=dict)
    sent: _Frames = field(default_factory=_Frames)
    heard: _Frames = field(default_factory=_Frames)
    started: bool = False
    executed: bool = False

    def abort(self) -> None:
        """Reset both sides at once."""
        for side in (self.client, self.server):
            side.transport.abort()

    def note_request(self, data: bytes) -> None:
        """Remember the statements of a client's messages; the start-up message has no type."""
        if not self.started:
            code = struct.unpack("!I", data[4:8])[0] if len(data) >= 8 else 0
            self.started = code not in _NEGOTIATIONS
            return
        for kind, body in self.sent.feed(data):
            if kind == b"P":
                name, text, *_ = body.split(b"\0")
                self.statements[name] = text
                self.asked += text
            elif kind == b"B":
                self.asked += self.statements.get(body.split(b"\0")[1], b"") + body
            elif kind == b"Q":
                self.asked += body

    def note_answer(self, data: bytes) -> bool:
        """Whether the server has said in `data` that what was asked for is executed and committed."""
        if not self.started or (data == b"N" and not self.heard.rest):
            return False
        ready = False
        for kind, body in self.heard.feed(data):
            # Preparing a statement ends in "ready" too, but completes no command.
            self.executed |= kind == b"C"
            if kind == b"Z" and body == b"I":
                ready, self.executed = self.executed, False
        return ready


@dataclass
class Proxy:
    """A running proxy; every switch works at once and for connections to come."""

    url: str
    port: int = 0
    connections: int = 0
    _links: set[_Link] = field(default_factory=set, repr=False)
    _thawed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _lose: bytes | None = None
    _lost: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _refusing: bool = False
    delay_secs: float = 0
    is_postgres: bool = True

    def __post_init__(self) -> None:
        self._thawed.set()

    def cut(self) -> None:
        """Reset every connection."""
        for link in list(self._links):
            link.abort()

    def refuse(self, refusing: bool = True) -> None:
        """Cut everything, and every new connection too, until told otherwise."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def freeze(self) -> None:
        """Half-open: connections stay, and are accepted, but no byte passes."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Let everything pass again, what was held back included."""
        self._thawed.set()

    def lose_answer(self, marker: bytes) -> asyncio.Event:
        """Cut the next connection on which a statement containing `marker` has committed, before it hears of that.

        The event is set when it has happened.
        """
        self._lose, self._lost = marker, asyncio.Event()
        return self._lost

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        """Carry one connection until either side ends it."""
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        try:
            upstream, server = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._to_server(link, reader))
                both.create_task(self._to_client(link, upstream))
        except* (OSError, _EndedError):
            pass
        finally:
            self._links.discard(link)
            link.abort()

    async def _to_server(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_CHUNK):
            if self.is_postgres:
                link.note_request(data)
            await self._pass_on(link.server, data)
        raise _EndedError

    async def _to_client(self, link: _Link, upstream: asyncio.StreamReader) -> None:
        while data := await upstream.read(_CHUNK):
            ready = self.is_postgres and link.note_answer(data)
            if ready and self._lose is not None and self._lose in link.asked:
                self._lose = None
                link.abort()
                self._lost.set()
                raise _EndedError
            if ready:
                link.asked = b""
            await self._pass_on(link.client, data)
        raise _EndedError

    async def _pass_on(self, to: asyncio.StreamWriter, data: bytes) -> None:
        if self.delay_secs:
            await asyncio.sleep(self.delay_secs)
        await self._thawed.wait()
        to.write(data)
        await to.drain()


class _EndedError(Exception):
    """One side has closed its connection."""


@asynccontextmanager
async def proxying(host: str, port: int, url_for: str, *, is_postgres: bool = True) -> AsyncIterator[Proxy]:
    """A proxy to `host:port` in the test's own loop; `url_for` is the database URL with `{port}` for the proxy's."""
    proxy = Proxy("", is_postgres=is_postgres)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await proxy.serve(reader, writer, host, port)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    proxy.url = url_for.format(port=proxy.port)
    try:
        yield proxy
    finally:
        server.close()
        proxy.thaw()
        proxy.cut()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
