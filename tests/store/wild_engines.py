"""Daemons that die: engines whose next statement, or the one after, may be their last."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

from psycopg import AsyncCursor

from strait_core.store import pool
from strait_core.store.faults import Clash, Held
from strait_core.store.pool import Conn

Act = Callable[[Conn], Awaitable[None]]


class DiedError(Exception):
    """The daemon died between two statements."""


@dataclass
class Fuse:
    """After how many statements the engine dies (None = it does not), whether that one is still sent, and how."""

    left: int | None = None
    sends: bool = False
    cuts: bool = False

    def burns(self) -> bool:
        """Whether this statement is the last."""
        if self.left is None:
            return False
        self.left -= 1
        return self.left == 0


@dataclass
class Engine:
    """One daemon's connection to the database."""

    url: str
    chance: random.Random
    conn: Conn
    fuse: Fuse = field(default_factory=Fuse)
    died: int = 0
    clashed: int = 0

    @classmethod
    async def open(cls, url: str, chance: random.Random) -> Self:
        engine = cls(url, chance, await pool.connect(url))
        engine._fit()
        return engine

    def _fit(self) -> None:
        fuse = self.fuse

        class Cursor(AsyncCursor[Any]):
            async def execute(self, *words: Any, **more: Any) -> Self:
                last = fuse.burns()
                if last and not fuse.sends:
                    self._die()
                await super().execute(*words, **more)
                if last:
                    self._die()
                return self

            def _die(self) -> NoReturn:
                if fuse.cuts:
                    self.connection.pgconn.finish()
                raise DiedError

        self.conn.cursor_factory = Cursor

    async def does(self, act: Act) -> bool:
        """Do something; False when the engine died over it: it has not happened, or nobody has heard that it has."""
        draws = self.chance.random
        if draws() < 0.15:
            self.fuse.left, self.fuse.sends, self.fuse.cuts = self.chance.randint(1, 10), draws() < 0.3, draws() < 0.1
        try:
            await act(self.conn)
        except DiedError:
            self.died += 1
            return False
        except (*Clash, Held):
            # On a busy machine the other engine may hold a tree for longer than this one waits; the writer asks again.
            self.clashed += 1
            return False
        finally:
            self.fuse.left = None
            if self.conn.closed:
                self.conn = await pool.connect(self.url)
                self._fit()
        return True

    async def close(self) -> None:
        await self.conn.close()
