"""Streams of a crowd beside its watchers: who listens to all runs, and who asked for a stream and does not read it."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from time import time
from typing import Final, Self, cast

_EVENT: Final = re.compile(
    rb'event: status\nid: [\d.]+\ndata: \{"run_id":"([^"]+)","status":"(\w+)"[^\n]*"at":"([^"]+)","seq":(\d+)[^\n]*\n'
)
# Of a stream of one run.
_MOVE: Final = re.compile(rb'event: (?:snapshot|status)\nid: (\d+)\ndata: [^\n]*?"status":"(\w+)"')
_END: Final = re.compile(rb'event: end\n(?:id: [^\n]*\n)?data: \{"reason":"([^"]*)"')
# What the kernel takes for a reader who does not read: as little as it lets us ask for.
_RECEIVED: Final = 4_096
_RESUMED: Final = 1_048_576
_SEGMENT: Final = 536


class Told:
    """The moves of all runs as a stream told them; `gaps`: those that were left out, came twice or out of order."""

    def __init__(self) -> None:
        self._held = b""
        self._seqs: dict[bytes, int] = {}
        self.gaps = 0

    def read(self, data: bytes) -> list[tuple[bytes, datetime]]:
        """Go on; the runs that completed, and when."""
        self._held += data
        completed, end = [], 0
        for event in _EVENT.finditer(self._held):
            run, seq, end = event[1], int(event[4]), event.end()
            self.gaps += self._seqs.get(run, seq - 1) != seq - 1
            self._seqs[run] = seq
            if event[2] == b"completed":
                completed.append((run, datetime.fromisoformat(event[3].decode())))
        self._held = self._held[end:]
        return completed

    def __len__(self) -> int:
        return len(self._seqs)


class Listener(asyncio.Protocol):
    """One stream of all runs: each run's completion that it heard of, when that was and how many ms later it came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.told = Told()
        self.heard: dict[bytes, tuple[float, float]] = {}
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time()
        for run, at in self.told.read(data):
            self.heard[run] = (at.timestamp(), (now - at.timestamp()) * 1000)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_closed = True


class Stalled:
    """A stream that nobody reads until `resume`.

    A bare socket: a transport may begin to read when its protocol has long asked it not to.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._got = bytearray()

    @classmethod
    async def open(cls, host: str, port: int, request: bytes) -> Self:
        """Ask for a stream that the kernel takes next to nothing of: what is sent soon waits in the server."""
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        line.setblocking(False)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(line, (host, port))
        await loop.sock_sendall(line, request)
        return cls(line)

    async def resume(self, secs: float) -> None:
        """Read for so long, as fast as others, or until the server closes."""
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RESUMED)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(secs):
                while data := await asyncio.get_running_loop().sock_recv(self._line, _RESUMED):
                    self._got += data

    def leave(self) -> None:
        """Be gone."""
        self._line.close()

    @property
    def outcome(self) -> str:
        """What it found once it read: the server's reason for closing it, `whole` when nothing was left out, `cut`."""
        if end := _END.search(self._got):
            return end[1].decode()
        if moves := [(int(move[1]), move[2]) for move in _MOVE.finditer(self._got)]:
            is_whole = all(later == before + 1 for (before, _), (later, _) in pairwise(moves))
            return "whole" if len(moves) > 1 and is_whole and moves[-1][1] == b"completed" else "cut"
        told = Told()
        told.read(bytes(self._got))
        return "whole" if len(told) and not told.gaps else "cut"
