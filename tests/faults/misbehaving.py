"""An endpoint that plays the behaviour whose number the payload names, byte for byte; it runs in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.faults.behaviours import Behaviour


@dataclass
class Misbehaving:
    """The running endpoint, and how often each behaviour was asked for."""

    behaviours: Sequence[Behaviour]
    port: int = 0
    asked: Counter[int] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play for each request of one connection."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._play(reader, writer):
                pass
        writer.close()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may follow on this connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        number = json.loads(await reader.readexactly(length))["n"]
        self.asked[number] += 1
        behaviour = self.behaviours[number]
        for piece in behaviour.pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)
        match behaviour.after:
            case "reset":
                writer.transport.abort()
            case "hang":
                await reader.read()
        return behaviour.after == "keep"


@contextmanager
def misbehaving(behaviours: Sequence[Behaviour]) -> Iterator[Misbehaving]:
    """The endpoint, for as long as the block."""
    endpoint = Misbehaving(behaviours)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, backlog=1024, limit=2**20)
        endpoint.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(main())
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    thread = threading.Thread(target=run, name="misbehaving", daemon=True)
    thread.start()
    assert ready.wait(10), "the endpoint did not start"
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
