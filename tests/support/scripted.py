"""An endpoint that answers with exactly the bytes a test gives it, HTTP or not, and notices when its caller hangs up."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

Script: TypeAlias = Callable[["Visit"], Awaitable[None]]


@dataclass
class Visit:
    """One request: its head and body as they arrived, and the connection to answer on."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header lines in order, names as they were sent."""
        pairs = [line.split(b":", 1) for line in self.head.split(b"\r\n")[1:] if line]
        return [(name.decode(), value.strip().decode()) for name, value in pairs]

    async def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Cut the connection with a reset."""
        self.writer.transport.abort()

    async def hung_up(self) -> None:
        """Return once the caller has closed the connection."""
        with suppress(OSError):
            while await self.reader.read(65_536):
                pass


@dataclass
class Scripted:
    """The running endpoint and who came."""

    url: str
    visits: list[Visit] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole HTTP/1.1 response; header names take underscores for dashes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(status: str, body: bytes = b"", **headers: str) -> Script:
    """A script that answers so, each time."""

    async def script(visit: Visit) -> None:
        await visit.say(answer(status, body, **headers))

    return script


@asynccontextmanager
async def scripted(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """An endpoint on a loopback port that plays `script` for every request; one request per connection."""
    tasks: set[asyncio.Task[None]] = set()
    found = Scripted("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            visit = Visit(head, await reader.readexactly(length), reader, writer)
            found.visits.append(visit)
            await script(visit)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            found.gone.set()
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    found.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    try:
        yield found
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
