"""Streams of a crowd beside its watchers: who listens to all runs, and who asked for a stream and does not read it."""

from __future__ import annotations

import asyncio
import re
import socket
from datetime import datetime
from itertools import pairwise
from time import time
from typing import Final, cast

_EVENT: Final = re.compile(rb"event: status\nid: \d+\.(\d+)\.\d+\ndata: ([^\n]*)\n")
_COMPLETED: Final = re.compile(rb'"run_id":"([^"]+)","status":"completed"[^\n]*"at":"([^"]+)"')
_MOVE: Final = re.compile(rb'event: (?:snapshot|status)\nid: (\d+)\ndata: [^\n]*?"status":"(\w+)"')
_END: Final = re.compile(rb'event: end\n(?:id: [^\n]*\n)?data: \{"reason":"([^"]*)"')
# What the kernel takes for a reader who does not read: as little as it lets us ask for.
_RECEIVED: Final = 4_096
_SEGMENT: Final = 536


class Listener(asyncio.Protocol):
    """One stream of all runs: each run's completion that it heard of, when that was and how many ms later it came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._held = b""
        self._number = 0
        self.heard: dict[bytes, tuple[float, float]] = {}
        # Events that were left out, or came twice or out of order, by their numbers.
        self.gaps = 0
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time()
        self._held += data
        end = 0
        for event in _EVENT.finditer(self._held):
            number, end = int(event[1]), event.end()
            self.gaps += self._number not in {0, number - 1}
            self._number = number
            if found := _COMPLETED.search(event[2]):
                at = datetime.fromisoformat(found[2].decode()).timestamp()
                self.heard[found[1]] = (at, (now - at) * 1000)
        self._held = self._held[end:]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_closed = True


class Stalled(asyncio.Protocol):
    """A stream that nobody reads until `resume`."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._got = bytearray()
        self._line: asyncio.Transport | None = None
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line = cast("asyncio.Transport", transport)
        self._line.write(self._request)
        self._line.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._got += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_closed = True

    def resume(self) -> None:
        """Read from here on."""
        if self._line is not None and not self.is_closed:
            self._line.resume_reading()

    def leave(self) -> None:
        """Be gone."""
        if self._line is not None:
            self._line.abort()

    @property
    def outcome(self) -> str:
        """What it found once it read: the server's reason for closing it, `whole` when nothing was left out, `cut`."""
        if end := _END.search(self._got):
            return end[1].decode()
        numbers = [int(event[1]) for event in _EVENT.finditer(self._got)]
        moves = [(int(move[1]), move[2]) for move in _MOVE.finditer(self._got)]
        if moves:
            numbers = [seq for seq, _ in moves]
        is_whole = all(later == before + 1 for before, later in pairwise(numbers)) and (
            not moves or self._is_over(moves)
        )
        return "whole" if numbers and is_whole else "cut"

    @staticmethod
    def _is_over(moves: list[tuple[int, bytes]]) -> bool:
        return moves[-1][1] == b"completed"


async def stall(host: str, port: int, request: bytes) -> Stalled:
    """Open a stream that the kernel takes next to nothing of: what is sent soon waits in the server."""
    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    line.setblocking(False)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, (host, port))
    _, stalled = await loop.create_connection(lambda: Stalled(request), sock=line)
    return stalled
